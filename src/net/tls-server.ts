/**
 * The TLS side of a listener on one worker: a secure context for each set of certificates, and the choice among them by
 * the server name that the client asks for (SNI, RFC 6066 section 3).
 */
import { constants } from "node:crypto";
import { createSecureContext, type SecureContext, type SecureVersion } from "node:tls";

export type TlsCertificate = {
  /** PEM: the certificate, then those of its issuers. */
  readonly cert: string;
  readonly key: string;
  /** Of the key; empty: it is not encrypted. */
  readonly passphrase: string;
  /** DNS names that it is for, in lower case; `*.` stands for one label. */
  readonly names: readonly string[];
  /** `rsa`, `ec`, `ed25519` …: a name may have one certificate of each. */
  readonly keyType: string;
};

/** Plain data, posted to workers. */
export type TlsServerOptions = {
  /** Equal for two versions when nothing differs: secure contexts are then carried over. */
  readonly key: string;
  /** The first is the default. */
  readonly certificates: readonly TlsCertificate[];
  readonly minVersion: SecureVersion;
  readonly maxVersion: SecureVersion;
  /** OpenSSL names, separated by colons; those of TLS 1.3 begin with `TLS_`. */
  readonly ciphers: string;
  /** Refuse server names that no certificate has; otherwise they get the default certificate. */
  readonly rejectsUnknownNames: boolean;
  /** Null: clients are not asked for a certificate. */
  readonly clients: {
    readonly required: boolean;
    readonly ca: readonly string[];
    readonly crl: readonly string[];
  } | null;
};

/** Results of a handshake, as counted; the first is success. */
export const HANDSHAKES = [
  "ok",
  "failed",
  "timeout",
  "aborted",
  "plain_text",
  "unknown_name",
  "client_certificate",
] as const;
export type HandshakeFailure = Exclude<(typeof HANDSHAKES)[number], "ok">;

/** Why a handshake was ended by this side. */
export class HandshakeError extends Error {
  readonly result: HandshakeFailure;
  constructor(result: HandshakeFailure, message: string) {
    super(message);
    this.result = result;
  }
}

export class TlsServer {
  readonly options: TlsServerOptions;
  readonly #default: SecureContext;
  readonly #exact = new Map<string, SecureContext>();
  /** By the part behind the `*`. */
  readonly #wildcard = new Map<string, SecureContext>();
  readonly #made = new Map<string, SecureContext>();

  /** @throws Error if OpenSSL refuses a certificate or setting. */
  constructor(options: TlsServerOptions) {
    this.options = options;
    const { certificates } = options;
    for (const name of new Set(certificates.flatMap(({ names }) => names))) {
      const context = this.#contextOf(name);
      if (name.startsWith("*.")) this.#wildcard.set(name.slice(1), context);
      else this.#exact.set(name, context);
    }
    const first = certificates[0]!.names[0];
    this.#default = first === undefined ? this.#make([0]) : this.#contextOf(first);
  }

  /** For a server name in lower case, empty if the client sent none. Null: refuse the handshake. */
  contextFor(name: string): SecureContext | null {
    const dot = name.indexOf(".");
    const found = this.#exact.get(name) ?? (dot > 0 ? this.#wildcard.get(name.slice(dot)) : undefined);
    return found ?? (this.options.rejectsUnknownNames && name !== "" ? null : this.#default);
  }

  /** With the first certificate of each key type that has this name. */
  #contextOf(name: string): SecureContext {
    const types = new Set<string>();
    const indices: number[] = [];
    for (const [index, { names, keyType }] of this.options.certificates.entries()) {
      if (types.has(keyType) || !names.includes(name)) continue;
      types.add(keyType);
      indices.push(index);
    }
    return this.#make(indices);
  }

  #make(indices: readonly number[]): SecureContext {
    const id = indices.join();
    const known = this.#made.get(id);
    if (known !== undefined) return known;
    const { certificates, minVersion, maxVersion, ciphers, clients, key } = this.options;
    const used = indices.map((index) => certificates[index]!);
    const context = createSecureContext({
      cert: used.map(({ cert }) => cert),
      key: used.map(({ key, passphrase }) => ({ pem: key, passphrase })),
      minVersion,
      maxVersion,
      ciphers,
      // An empty list: without any, the context would hold all root certificates.
      ca: clients === null ? [] : [...clients.ca],
      ...(clients !== null && clients.crl.length > 0 && { crl: [...clients.crl] }),
      secureOptions: constants.SSL_OP_NO_RENEGOTIATION,
      // A session is resumed without a look at the client's certificate: only where the same settings verified it.
      sessionIdContext: clients === null ? "sluice" : key.slice(0, 32),
    });
    this.#made.set(id, context);
    return context;
  }
}
