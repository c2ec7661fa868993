/** TLS of a listener on one worker: secure contexts for certificates, selected by the server name (SNI, RFC 6066). */
import { constants, type KeyObject } from "node:crypto";
import { createSecureContext, type SecureContext, type SecureVersion } from "node:tls";
import { hasScheme, type Tls12Offer } from "./client-hello.ts";
import {
  isServerName,
  type ManagedCertificates,
  matchesAny,
  onDemandId,
  type TlsCertificate,
} from "./managed-certificates.ts";
import type { Staples } from "./staples.ts";
import type { TicketKeys } from "./ticket-keys.ts";
import { chooseForTls12 } from "./tls12-choice.ts";

/** A certificate that workers get apart from the configuration (`net/managed-certificates.ts`), and its names. */
export type ManagedNames = { readonly id: string; readonly names: readonly string[] };

/** The TLS configuration of a listener: plain data, posted to workers. */
export type TlsServerOptions = {
  /** Equal in two versions if nothing differs: secure contexts are then reused. */
  readonly key: string;
  /** The first one is the default certificate. */
  readonly certificates: readonly TlsCertificate[];
  /** Certificates of an ACME server; the first one is the default without others. */
  readonly managed: readonly ManagedNames[];
  /** Patterns of server names (`ServerNames`) for which certificates are obtained at their first handshake. */
  readonly onDemand: readonly string[];
  readonly minVersion: SecureVersion;
  readonly maxVersion: SecureVersion;
  /** OpenSSL cipher names separated by colons; those of TLS 1.3 begin with `TLS_`. */
  readonly ciphers: string;
  /** Reject server names without a certificate; otherwise they get the default certificate. */
  readonly rejectsUnknownNames: boolean;
  /** Client certificates; null: none are requested. */
  readonly clients: {
    readonly required: boolean;
    readonly ca: readonly string[];
    readonly crl: readonly string[];
  } | null;
};

/** Results of a handshake, for counters; the first is success. */
export const HANDSHAKES = [
  "ok",
  "failed",
  "timeout",
  "aborted",
  "plain_text",
  "unknown_name",
  "no_certificate",
  "client_certificate",
] as const;
type HandshakeFailure = Exclude<(typeof HANDSHAKES)[number], "ok">;

/** Reasons for which the proxy ends a handshake. */
export class HandshakeError extends Error {
  readonly result: HandshakeFailure;
  constructor(result: HandshakeFailure, message: string) {
    super(message);
    this.result = result;
  }
}

/** A client whose first suite is ChaCha20 has no AES in hardware, and gets ChaCha20 before the order of the server. */
const SECURE_OPTIONS =
  constants.SSL_OP_NO_RENEGOTIATION | constants.SSL_OP_CIPHER_SERVER_PREFERENCE | constants.SSL_OP_PRIORITIZE_CHACHA;

/** What a handshake uses. */
export type ServerContext = {
  readonly context: SecureContext;
  /** `TlsCertificate.staple`; empty if none is stapled, or there are several certificates. */
  readonly staple: string;
  /** Of several certificates, the contexts of each one, by the signature schemes of its key. */
  readonly single: ReadonlyMap<number, ServerContext>;
  /** The same, with the schemes of each, if TLS 1.2 is enabled; null: there is no choice. */
  readonly tls12: readonly { readonly schemes: readonly number[]; readonly context: ServerContext }[] | null;
};

/** In OpenSSL's order of preference. */
const SCHEMES: ReadonlyMap<string, readonly number[]> = new Map([
  ["prime256v1", [0x0403]],
  ["secp384r1", [0x0503]],
  ["secp521r1", [0x0603]],
  ["ed25519", [0x0807]],
  ["ed448", [0x0808]],
  ["rsa-pss", [0x0809, 0x080a, 0x080b]],
  ["rsa", [0x0804, 0x0805, 0x0806]],
]);
const PREFERENCE = [...SCHEMES.values()].flat();
/** Most contexts of managed certificates of a listener, some 50 KiB each; the oldest is made again when it is needed. */
const MAX_CONTEXTS = 1000;
const NO_CONTEXTS: ReadonlyMap<number, ServerContext> = new Map();

export function signatureSchemes({ asymmetricKeyType, asymmetricKeyDetails }: KeyObject): readonly number[] {
  return SCHEMES.get(asymmetricKeyDetails?.namedCurve ?? asymmetricKeyType ?? "") ?? [];
}

/** A server name without a trailing dot, which it should not have. */
export function plainName(requested: string): string {
  return requested.endsWith(".") ? requested.slice(0, -1) : requested;
}

/** Shared by the listeners of a worker. */
export type TlsShared = {
  readonly tickets: TicketKeys;
  readonly staples: Staples;
  readonly managed: ManagedCertificates;
};

/** Why a handshake has no context: the name has no certificate; it has none yet; one is to be requested. */
export type NoContext = "unknown" | "missing" | "wanted";

export class TlsServer {
  readonly options: TlsServerOptions;
  readonly #shared: TlsShared | null;
  /** Null: the certificate of `managed[0]`, or none. */
  readonly #default: ServerContext | null;
  /** Ids of `managed` by name. */
  readonly #managed = new Map<string, string>();
  /** Contexts of managed certificates by id, the least recently made first. */
  readonly #contexts = new Map<string, { readonly certificate: TlsCertificate; readonly served: ServerContext }>();
  readonly #exact = new Map<string, ServerContext>();
  /** By the part of the name after `*`. */
  readonly #wildcard = new Map<string, ServerContext>();
  readonly #made = new Map<string, ServerContext>();

  /** `shared`: null for a mere check. @throws Error if OpenSSL refuses a certificate or setting. */
  constructor(options: TlsServerOptions, shared: TlsShared | null) {
    this.options = options;
    this.#shared = shared;
    const { certificates, managed } = options;
    for (const { id, names } of managed.toReversed()) for (const name of names) this.#managed.set(name, id);
    for (const name of new Set(certificates.flatMap(({ names }) => names))) {
      const context = this.#contextOf(name);
      if (name.startsWith("*.")) this.#wildcard.set(name.slice(1), context);
      else this.#exact.set(name, context);
    }
    this.#default = this.#makeDefault();
  }

  /**
   * Selects the context for a server name in lower case (empty: none was sent). A name is the same with a trailing dot,
   * as in routes, although a client should not send it. Of several certificates for the name OpenSSL chooses during the
   * handshake, when an OCSP response cannot be set any more; a client that asks for one gets the certificate that OpenSSL
   * would choose from `staplingSchemes` (`ClientHello`), in TLS 1.2 that of `contextForTls12`.
   */
  contextFor(requested: string, staplingSchemes: Buffer): ServerContext | NoContext {
    const name = plainName(requested);
    const dot = name.indexOf(".");
    const found =
      this.#exact.get(name) ??
      (this.#managed.size > 0 ? this.#managedContext(this.#managed.get(name)) : undefined) ??
      (dot > 0 ? this.#wildcard.get(name.slice(dot)) : undefined);
    if (found === undefined) return this.#managed.has(name) ? "missing" : this.#contextOfUnknown(name);
    return this.#choose(found, staplingSchemes);
  }

  #contextOfUnknown(name: string): ServerContext | NoContext {
    const { onDemand, rejectsUnknownNames, managed } = this.options;
    if (onDemand.length > 0 && isServerName(name) && matchesAny(onDemand, name))
      return this.#managedContext(onDemandId(name)) ?? "wanted";
    if (rejectsUnknownNames && name !== "") return "unknown";
    return this.#default ?? this.#managedContext(managed[0]?.id) ?? (managed.length > 0 ? "missing" : "unknown");
  }

  #choose(chosen: ServerContext, staplingSchemes: Buffer): ServerContext {
    const { single } = chosen;
    if (single.size === 0) return chosen;
    const scheme = PREFERENCE.find((one) => single.has(one) && hasScheme(staplingSchemes, one));
    return scheme === undefined ? chosen : single.get(scheme)!;
  }

  /** For TLS 1.2, selects the context of one certificate of `chosen`, so that its OCSP response can be sent. */
  contextForTls12(chosen: ServerContext, offer: Tls12Offer): ServerContext {
    const schemes = chosen.tls12!.map((one) => one.schemes);
    const index = chooseForTls12(this.options.ciphers, schemes, offer);
    return chosen.tls12![index]?.context ?? chosen;
  }

  /** The context of a managed certificate; undefined if there is none yet. A new certificate gets a new context. */
  #managedContext(id: string | undefined): ServerContext | undefined {
    const certificate = id === undefined ? undefined : this.#shared?.managed.get(id);
    if (id === undefined || certificate === undefined) return undefined;
    const known = this.#contexts.get(id);
    if (known?.certificate === certificate) return known.served;
    const served = this.#makeContext([certificate]);
    this.#contexts.delete(id);
    this.#contexts.set(id, { certificate, served });
    if (this.#contexts.size > MAX_CONTEXTS) this.#contexts.delete(this.#contexts.keys().next().value!);
    return served;
  }

  /** Whether the handshake whose ClientHello is processed next renews the ticket of a session that it resumes. */
  set renewsTickets(on: boolean) {
    if (this.#shared !== null) this.#shared.tickets.renews = on;
  }

  /** The OCSP response to staple, or null. */
  stapleFor({ staple }: ServerContext): Uint8Array | null {
    return staple === "" || this.#shared === null ? null : this.#shared.staples.get(staple);
  }

  /** Builds the context with the first certificate of each key type that has this name. */
  #contextOf(name: string): ServerContext {
    const types = new Set<string>();
    const indices: number[] = [];
    for (const [index, { names, keyType }] of this.options.certificates.entries()) {
      if (types.has(keyType) || !names.includes(name)) continue;
      types.add(keyType);
      indices.push(index);
    }
    return this.#make(indices);
  }

  #make(indices: readonly number[]): ServerContext {
    const id = indices.join();
    const known = this.#made.get(id);
    if (known !== undefined) return known;
    const { context, staple } = this.#makeContext(indices.map((index) => this.options.certificates[index]!));
    const made = { context, staple, ...this.#singles(indices) };
    this.#made.set(id, made);
    return made;
  }

  #makeDefault(): ServerContext | null {
    const [first] = this.options.certificates;
    if (first === undefined) {
      // Checks the settings.
      this.#makeContext([]);
      return null;
    }
    const [name] = first.names;
    return name === undefined ? this.#make([0]) : this.#contextOf(name);
  }

  /** Without the contexts for single certificates. */
  #makeContext(used: readonly TlsCertificate[]): ServerContext {
    const { minVersion, maxVersion, ciphers, clients, key } = this.options;
    const context = createSecureContext({
      cert: used.map(({ cert }) => cert),
      key: used.map(({ key, passphrase }) => ({ pem: key, passphrase })),
      minVersion,
      maxVersion,
      ciphers,
      // An empty list: without any, the context would hold all root certificates.
      ca: clients === null ? [] : [...clients.ca],
      ...(clients !== null && clients.crl.length > 0 && { crl: [...clients.crl] }),
      secureOptions: SECURE_OPTIONS,
      // A resumed session does not verify the client's certificate again: only sessions with the same settings may be
      // resumed.
      sessionIdContext: clients === null ? "sluice" : key.slice(0, 32),
    });
    this.#shared?.tickets.use(context);
    return { context, staple: used.length === 1 ? used[0]!.staple : "", single: NO_CONTEXTS, tls12: null };
  }

  /** None where there is no choice: of one certificate, or without OCSP responses. */
  #singles(indices: readonly number[]): Pick<ServerContext, "single" | "tls12"> {
    const { certificates, maxVersion, minVersion } = this.options;
    const isStapled = indices.some((index) => certificates[index]!.staple !== "");
    if (indices.length === 1 || !isStapled) return { single: NO_CONTEXTS, tls12: null };
    const made = indices.map((index) => ({
      schemes: certificates[index]!.schemes,
      context: this.#make([index]),
    }));
    const single = new Map(made.flatMap(({ schemes, context }) => schemes.map((scheme) => [scheme, context] as const)));
    return { single: maxVersion === "TLSv1.3" ? single : NO_CONTEXTS, tls12: minVersion === "TLSv1.3" ? null : made };
  }
}
