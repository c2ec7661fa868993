/** Scheme and HTTP version of a message, as in headers, logs and attributes. */

/** The scheme of a request: that of the client's connection to the proxy or to the first trusted proxy. */
export type Scheme = "http" | "https";

/** The version of HTTP of a message: `Head.version`. */
export const VERSION = { http10: 0, http11: 1, http2: 2 } as const;

/** By VERSION: the number in the Via header. */
export const VERSION_NUMBERS = ["1.0", "1.1", "2"] as const;
