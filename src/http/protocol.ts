/** What is said of the protocol that carried a message, in headers, logs and attributes. */

/** The scheme of a request: how the client reached the proxy, or the first proxy that is trusted. */
export type Scheme = "http" | "https";

/** The version of HTTP of a message: `Head.version`. */
export const VERSION = { http10: 0, http11: 1 } as const;

/** By VERSION: its number, as Via has it. */
export const VERSION_NUMBERS = ["1.0", "1.1"] as const;
