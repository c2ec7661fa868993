/**
 * The certificates from an ACME server that a worker serves. The main thread obtains and renews them; they reach workers
 * by a message of their own, so a renewal is no new version of the configuration.
 */
export type TlsCertificate = {
  /** The certificate chain in PEM, the server's certificate first. */
  readonly cert: string;
  readonly key: string;
  /** Passphrase of the key; empty: it is not encrypted. */
  readonly passphrase: string;
  /** Its DNS names in lower case; `*.` matches one label. */
  readonly names: readonly string[];
  /** `rsa`, `ec`, `ed25519` …: a name may have one certificate per type. */
  readonly keyType: string;
  /** The signature schemes of TLS 1.3 that its key can make (RFC 8446 section 4.2.3). */
  readonly schemes: readonly number[];
  /** Identifies its OCSP response (`net/staples.ts`); empty: none is stapled. */
  readonly staple: string;
};

export class ManagedCertificates {
  readonly #byId = new Map<string, TlsCertificate>();

  /** `id`: `ManagedNames.id` or `onDemandId`; null: it is not served any more. */
  set(id: string, certificate: TlsCertificate | null): void {
    if (certificate === null) this.#byId.delete(id);
    else this.#byId.set(id, certificate);
  }

  get(id: string): TlsCertificate | undefined {
    return this.#byId.get(id);
  }
}

/** The id of a certificate that was obtained at a handshake. */
export function onDemandId(name: string): string {
  return `on-demand ${name}`;
}

/** Whether a server name in lower case is a DNS name that a public certificate can be for, at most 253 characters. */
export function isServerName(name: string): boolean {
  return name.length <= 253 && SERVER_NAME.test(name);
}

const SERVER_NAME = /^(?=.*\.)(?!.*\.\d+$)(?:(?!-)[a-z0-9-]{1,63}(?<!-)\.)+(?!-)[a-z0-9-]{1,63}(?<!-)$/;

/** Whether a name matches one of these patterns: a name, `*.` and a name for one more label, or `*` for all. */
export function matchesAny(patterns: readonly string[], name: string): boolean {
  return patterns.some((pattern) => {
    if (!pattern.startsWith("*")) return pattern === name;
    return pattern === "*" || (name.indexOf(".") > 0 && name.slice(name.indexOf(".")) === pattern.slice(1));
  });
}

/** The id of a configured certificate for these names. */
export function managedId(names: readonly string[]): string {
  return [...names].sort().join();
}
