/** What the handshake of a TLS connection has established. */
export type TlsFacts = {
  /** The name that the client asked for (SNI), in lower case; empty without one. */
  readonly serverName: string;
  /** As OpenSSL names it: `TLSv1.3`. */
  readonly version: string;
  /** Subject of the client's certificate (RFC 4514); empty without one that was verified. */
  readonly clientSubject: string;
};
