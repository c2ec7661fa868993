/** What the handshake of a TLS connection has established. */
export type TlsFacts = {
  /** The name that the client asked for (SNI), in lower case; empty without one. */
  readonly serverName: string;
  /** As OpenSSL names it: `TLSv1.3`. */
  readonly version: string;
  /** The standard name: `TLS_AES_128_GCM_SHA256`. */
  readonly cipher: string;
  /** The protocol that was agreed on (ALPN); empty without one. */
  readonly protocol: string;
  /** The session continues one of an earlier connection. */
  readonly resumed: boolean;
  /** Subject of the client's certificate (RFC 4514); empty without one that was verified, as are the next two. */
  readonly clientSubject: string;
  /** Its alternative names: `DNS:app.example, URI:spiffe://example/app`. */
  readonly clientNames: string;
  /** SHA-256 of the certificate, 64 hexadecimal digits in lower case. */
  readonly clientFingerprint: string;
};
