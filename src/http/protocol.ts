/** Scheme and HTTP version of a message, as in headers, logs and attributes. */

/** The scheme of a request: that of the client's connection to the proxy or to the first trusted proxy. */
export type Scheme = "http" | "https";

/** The version of HTTP of a message: `Head.version`; `tcp`, `udp`: of a connection or session, which has no message. */
export const VERSION = { http10: 0, http11: 1, http2: 2, tcp: 3, udp: 4 } as const;

/** By VERSION: the number in the Via header. */
export const VERSION_NUMBERS = ["1.0", "1.1", "2", "tcp", "udp"] as const;
