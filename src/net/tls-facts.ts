/** The facts about a TLS connection after its handshake. */
export type TlsFacts = {
  /** The requested server name (SNI) in lower case; empty without one. */
  readonly serverName: string;
  /** The version by OpenSSL's name: `TLSv1.3`. */
  readonly version: string;
  /** The cipher suite by its IANA name: `TLS_AES_128_GCM_SHA256`. */
  readonly cipher: string;
  /** The negotiated application protocol (ALPN); empty without one. */
  readonly protocol: string;
  /** The protocols that the client offered (ALPN), where routes need them. */
  readonly offered?: readonly string[];
  /** Subject of the client's verified certificate (RFC 4514). This and the next two are empty without one. */
  readonly clientSubject: string;
  /** Subject alternative names: `DNS:app.example, URI:spiffe://example/app`. */
  readonly clientNames: string;
  /** SHA-256 of the certificate, 64 lower-case hexadecimal digits. */
  readonly clientFingerprint: string;
};
