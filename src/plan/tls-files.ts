/** Reads and checks the certificates, keys, authorities and revocation lists of a configuration. */
import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import { isIP } from "node:net";
import { getCiphers } from "node:tls";
import type { ClusterConfig, Config, ListenerConfig, NamedFile, Place, Problem } from "../config/schema.ts";
import { managedId, type TlsCertificate } from "../net/managed-certificates.ts";
import { TlsClient, type TlsClientOptions } from "../net/tls-client.ts";
import { signatureSchemes, TlsServer, type TlsServerOptions } from "../net/tls-server.ts";
import { checkAcme, findUnusedNames } from "./acme-check.ts";
import { digest } from "./instances.ts";
import { type CertificateOcsp, checkOcsp } from "./tls-ocsp.ts";
import { authoritiesWithoutList, problemOfDates, readRevocationLists } from "./tls-revocation.ts";

type UsesTls = Pick<Config, "listeners" | "clusters"> & { readonly acme?: Config["acme"] | undefined };
type ListenerTls = NonNullable<ListenerConfig["tls"]>;
type ClusterTls = NonNullable<ClusterConfig["tls"]>;
type OnDemand = Config["acme"]["onDemand"];
type Files = ReadonlyMap<string, string | Error>;

type Pair = { readonly cert: NamedFile; readonly key: NamedFile; readonly passphrase: string };

/** A certificate in use, for metrics and warnings of its expiry. */
export type CertificateInfo = {
  readonly listener: string;
  /** The file as configured. */
  readonly file: string;
  readonly names: readonly string[];
  /** Wall-clock ms. */
  readonly expires: number;
  readonly ocsp: CertificateOcsp;
  /** Days before expiry at which it is renewed, if nothing prevents it; 0: it is not renewed by the proxy. */
  readonly renewedAt: number;
};

/** A revocation list in use, for warnings of its expiry. */
export type RevocationListInfo = {
  /** `listener web` or `cluster app`. */
  readonly usedBy: string;
  /** The file as configured, which may have several lists. */
  readonly file: string;
  /** Wall-clock ms; infinite if it does not expire. */
  readonly expires: number;
};

export type TlsFiles = {
  /** By name of the listener. */
  readonly servers: ReadonlyMap<string, TlsServerOptions>;
  /** By name of the cluster. */
  readonly clients: ReadonlyMap<string, TlsClientOptions>;
  readonly certificates: readonly CertificateInfo[];
  readonly revocationLists: readonly RevocationListInfo[];
  /** `acme.ca`: PEM of the authorities of the ACME server; empty: the public ones. */
  readonly acmeCa: readonly string[];
  readonly problems: readonly Problem[];
  readonly warnings: readonly Problem[];
};

/** The paths of all files that `readTlsFiles` reads. */
export function listTlsFiles({ listeners, clusters, acme }: UsesTls): string[] {
  const files = listeners.flatMap(({ tls }) => [
    ...(tls?.certificates.flatMap(({ cert, key, ocspFile }) => [cert, key, ...(ocspFile ? [ocspFile] : [])]) ?? []),
    ...(tls?.clientCertificates?.ca ?? []),
    ...(tls?.clientCertificates?.crl ?? []),
  ]);
  for (const { tls } of clusters)
    if (tls !== undefined)
      files.push(...[tls.cert, tls.key].filter((file) => file !== undefined), ...tls.ca, ...tls.crl);
  return [...new Set([...files, ...(acme?.ca ?? [])].map(({ path }) => path))];
}

export async function readTlsFiles(config: UsesTls, now = Date.now()): Promise<TlsFiles> {
  const read = async (path: string): Promise<[string, string | Error]> => [
    path,
    await readFile(path, "latin1").catch((error: Error) => error),
  ];
  const files = new Map(await Promise.all(listTlsFiles(config).map(read)));
  const found = checkTls(config, files, now);
  return { ...found, problems: [...found.problems, ...(await checkAcme(config))] };
}

function checkTls({ listeners, clusters, acme }: UsesTls, files: Files, now: number): TlsFiles {
  const check = new TlsCheck(files, now, acme?.onDemand);
  const servers = new Map<string, TlsServerOptions>();
  for (const { name, tls } of listeners) {
    const server = tls && check.server(name, tls);
    if (server !== undefined) servers.set(name, server);
  }
  const clients = new Map<string, TlsClientOptions>();
  for (const cluster of clusters) {
    const client = cluster.tls && check.client(cluster, cluster.tls);
    if (client !== undefined) clients.set(cluster.name, client);
  }
  return { servers, clients, acmeCa: check.authorities(acme?.ca ?? []), ...check };
}

class TlsCheck {
  readonly problems: Problem[] = [];
  readonly warnings: Problem[] = [];
  readonly certificates: CertificateInfo[] = [];
  readonly revocationLists: RevocationListInfo[] = [];
  readonly #files: Files;
  readonly #now: number;
  readonly #onDemand: OnDemand;

  constructor(files: Files, now: number, onDemand: OnDemand) {
    this.#files = files;
    this.#onDemand = onDemand;
    this.#now = now;
  }

  /** Undefined if there are problems, which are then reported. */
  server(listener: string, tls: ListenerTls): TlsServerOptions | undefined {
    // Reported when the configuration was read.
    if (tls.certificates.length + tls.managed.length === 0 && !tls.onDemand) return undefined;
    const before = this.problems.length;
    const certificates = tls.certificates.map((one) => this.#certificate(listener, one, tls));
    this.#names(tls, certificates);
    this.#ciphers(tls);
    if (tls.onDemand && this.#onDemand === undefined)
      this.#report(tls.at, '"onDemand" is given without the names that it is for, expected "acme.onDemand"');
    const clients = this.#clients(listener, tls);
    if (this.problems.length > before) return undefined;
    this.warnings.push(...findUnusedNames(tls, certificates as TlsCertificate[]));
    const options = {
      certificates: certificates as TlsCertificate[],
      managed: tls.managed.map(({ names }) => ({ id: managedId(names), names })),
      onDemand: tls.onDemand ? (this.#onDemand?.names ?? []) : [],
      minVersion: tls.minVersion,
      maxVersion: tls.maxVersion,
      ciphers: tls.ciphers.map(({ name }) => name).join(":"),
      rejectsUnknownNames: tls.unknownName === "reject",
      clients,
    };
    return this.#accepted(
      tls.at,
      { ...options, key: digest([listener, options]) },
      (made) => new TlsServer(made, null),
    );
  }

  /** Undefined if there are problems, which are then reported. */
  client({ name, endpoints }: ClusterConfig, tls: ClusterTls): TlsClientOptions | undefined {
    const before = this.problems.length;
    const hosts = new Set(
      endpoints.map(({ address }) => address.host).filter((host) => host !== "" && isIP(host) === 0),
    );
    if (tls.sni === undefined && hosts.size > 1)
      this.#report(tls.at, `the endpoints have several names (${[...hosts].join(", ")}), expected "sni"`);
    const { cert, key, passphrase = "" } = tls;
    const pair = cert && key && this.#pair({ cert, key, passphrase });
    const options = {
      verify: tls.verify,
      serverName: tls.sni ?? [...hosts][0] ?? "",
      ...this.#revocable(`cluster ${name}`, tls),
      certificate: pair ? { cert: pair.cert, key: pair.pem, passphrase } : null,
    };
    if (this.problems.length > before) return undefined;
    return this.#accepted(tls.at, { ...options, key: digest([name, options]) }, (made) => new TlsClient(made));
  }

  /** The options; undefined if OpenSSL refuses them. */
  #accepted<Options>(at: Place, options: Options, make: (options: Options) => unknown): Options | undefined {
    try {
      make(options);
      return options;
    } catch (error) {
      this.#report(at, `invalid TLS settings: ${(error as Error).message}`);
      return undefined;
    }
  }

  #report(at: Place, message: string): void {
    this.problems.push({ ...at, message });
  }

  #warn(at: Place, message: string): void {
    this.warnings.push({ ...at, message });
  }

  #read({ path, at }: NamedFile): string | undefined {
    const content = this.#files.get(path)!;
    if (typeof content === "string") return content;
    const { code } = content as NodeJS.ErrnoException;
    this.#report(at, code === "ENOENT" ? `there is no file ${path}` : `${path} cannot be read: ${content.message}`);
    return undefined;
  }

  #certificate(
    listener: string,
    given: ListenerTls["certificates"][number],
    tls: ListenerTls,
  ): TlsCertificate | undefined {
    const { cert: file, passphrase = "" } = given;
    const pair = this.#pair({ ...given, passphrase }, tls);
    if (pair === undefined) return undefined;
    const { cert, pem, key, leaf, chain } = pair;
    const ocsp = this.#ocsp(given, tls, chain);
    const names = namesOf(leaf);
    if (names.length === 0) this.#warn(file.at, `the certificate in ${file.path} has no DNS name`);
    this.certificates.push({ listener, file: file.path, names, expires: Date.parse(leaf.validTo), ocsp, renewedAt: 0 });
    const keyType = (key.asymmetricKeyType ?? "").replace(/-pss$/, "");
    return {
      cert,
      key: pem,
      passphrase,
      names,
      keyType,
      schemes: signatureSchemes(key),
      staple: ocsp.source?.id ?? "",
    };
  }

  #ocsp(
    { cert, ocspFile }: ListenerTls["certificates"][number],
    { ocsp: mode }: ListenerTls,
    chain: readonly X509Certificate[],
  ): CertificateOcsp {
    const text = ocspFile && this.#read(ocspFile);
    const file = text === undefined ? undefined : { path: ocspFile!.path, content: Buffer.from(text, "latin1") };
    const { warning, ...ocsp } = checkOcsp({ path: cert.path, chain, mode, file }, this.#now);
    if (warning !== "") this.#warn(ocspFile?.at ?? cert.at, warning);
    return ocsp;
  }

  /** A certificate and its key; `tls`: where the key's own certificate is sought if they do not fit. */
  #pair({ cert: file, key: keyFile, passphrase }: Pair, tls?: ListenerTls) {
    const cert = this.#read(file);
    const pem = this.#read(keyFile);
    const chain = cert === undefined ? [] : this.#chain(file, cert);
    const key = pem === undefined ? undefined : this.#key(keyFile, pem, passphrase);
    const [leaf] = chain;
    if (leaf === undefined || cert === undefined || key === undefined || pem === undefined) return undefined;
    this.#validity(file, leaf);
    if (leaf.checkPrivateKey(key)) return { cert, pem, key, leaf, chain };
    const owner = tls === undefined ? "" : this.#owner(key, tls);
    this.#report(keyFile.at, `${keyFile.path} is not the key of the certificate in ${file.path}${owner}`);
    return undefined;
  }

  /** The certificate of the same listener that a key belongs to. */
  #owner(key: KeyObject, tls: ListenerTls): string {
    const owner = tls.certificates.find(({ cert }) => {
      const text = this.#files.get(cert.path);
      const [leaf] = typeof text === "string" ? blocksOf(text) : [];
      return leaf !== undefined && parse(leaf)?.checkPrivateKey(key) === true;
    });
    return owner === undefined ? "" : `, but of the one in ${owner.cert.path}`;
  }

  #key({ path, at }: NamedFile, pem: string, passphrase: string): KeyObject | undefined {
    try {
      return createPrivateKey({ key: pem, passphrase });
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      const encrypted = pem.includes("ENCRYPTED");
      if (code === "ERR_MISSING_PASSPHRASE" || (encrypted && passphrase === ""))
        this.#report(at, `the key in ${path} is encrypted, expected "passphrase"`);
      else if (encrypted) this.#report(at, `the passphrase does not decrypt the key in ${path}`);
      else if (!pem.includes("PRIVATE KEY-----"))
        this.#report(
          at,
          `${path} contains ${blocksOf(pem).length > 0 ? "a certificate and " : ""}no private key in PEM format`,
        );
      else this.#report(at, `the private key in ${path} cannot be read: ${message}`);
      return undefined;
    }
  }

  /** The certificates of a file, each issued by the next; none if they cannot be used. */
  #chain(file: NamedFile, text: string): X509Certificate[] {
    const chain = this.#bundle(file, text);
    const { path, at } = file;
    for (let i = 0; i + 1 < chain.length; i++)
      if (!chain[i]!.checkIssued(chain[i + 1]!))
        this.#warn(
          at,
          `the certificates in ${path} are not a chain: number ${i + 2} is not the issuer of number ${i + 1}`,
        );
    return chain;
  }

  /** The certificates of a file; none if one cannot be used. */
  #bundle({ path, at }: NamedFile, text: string): X509Certificate[] {
    const blocks = blocksOf(text);
    const found = blocks.map(parse);
    if (blocks.length === 0)
      this.#report(
        at,
        `${path} contains ${text.includes("PRIVATE KEY-----") ? "a private key and " : ""}no certificate in PEM format`,
      );
    const bad = found.indexOf(undefined);
    if (bad < 0) return found as X509Certificate[];
    this.#report(at, `the certificate ${bad + 1} of ${blocks.length} in ${path} cannot be read`);
    return [];
  }

  #validity({ path, at }: NamedFile, { validFrom, validTo }: X509Certificate): void {
    if (Date.parse(validTo) < this.#now) this.#warn(at, `the certificate in ${path} expired on ${validTo}`);
    if (Date.parse(validFrom) > this.#now)
      this.#warn(at, `the certificate in ${path} is not valid before ${validFrom}`);
  }

  authorities(files: readonly NamedFile[]): string[] {
    return files.flatMap((file) => {
      const text = this.#read(file);
      const bundle = text === undefined ? [] : this.#bundle(file, text);
      // Others of a bundle may be in use.
      if (bundle.length === 1) this.#validity(file, bundle[0]!);
      return bundle.length === 0 ? [] : blocksOf(text!);
    });
  }

  /** Warns about certificates that are never used, since earlier ones have the same names and key type. */
  #names({ certificates }: ListenerTls, made: readonly (TlsCertificate | undefined)[]): void {
    const seen = new Set<string>();
    for (const [index, one] of made.entries()) {
      if (one === undefined) continue;
      const keys = one.names.map((name) => `${name} ${one.keyType}`);
      if (index > 0 && keys.every((key) => seen.has(key)))
        this.#warn(certificates[index]!.at, "never used: earlier certificates have the same names and key type");
      for (const key of keys) seen.add(key);
    }
  }

  #ciphers({ ciphers }: ListenerTls): void {
    const known = new Set(getCiphers());
    for (const { name, at } of ciphers)
      if (!known.has(name.toLowerCase())) this.#report(at, `unknown cipher "${name}"`);
  }

  #clients(listener: string, { clientCertificates: given }: ListenerTls): TlsServerOptions["clients"] {
    if (given === undefined || given.mode === "off") return null;
    return { required: given.mode === "required", ...this.#revocable(`listener ${listener}`, given) };
  }

  /** Authorities with their revocation lists. */
  #revocable(usedBy: string, { ca: files, crl }: Pick<ClusterTls, "ca" | "crl">): { ca: string[]; crl: string[] } {
    const ca = this.authorities(files);
    const lists = crl.flatMap((file) => this.#revocationLists(usedBy, file));
    for (const name of crl.length === 0 ? [] : authoritiesWithoutList(ca, lists))
      this.#warn(crl[0]!.at, `no list is of the authority ${name}: all its certificates are rejected`);
    return { ca, crl: lists.map(({ pem }) => pem) };
  }

  #revocationLists(usedBy: string, file: NamedFile) {
    const { path, at } = file;
    const text = this.#read(file);
    if (text === undefined) return [];
    const found = readRevocationLists(text);
    if (found.length === 0) this.#report(at, `${path} contains no revocation list in PEM format`);
    return found.flatMap((list, index) => {
      const number = `the revocation list ${index + 1} of ${found.length} in ${path}`;
      if (list === null) this.#report(at, `${number} cannot be read`);
      const problem = list === null ? "" : problemOfDates(list, this.#now);
      if (problem !== "") this.#warn(at, `${number} ${problem}: all certificates of its authority are rejected`);
      if (list !== null) this.revocationLists.push({ usedBy, file: path, expires: list.nextUpdate });
      return list ?? [];
    });
  }
}

function blocksOf(pem: string): string[] {
  return (
    pem.match(/-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----[\s\S]*?-----END (?:TRUSTED |X509 )?CERTIFICATE-----/g) ??
    []
  );
}

function parse(pem: string): X509Certificate | undefined {
  try {
    return new X509Certificate(pem);
  } catch {
    return undefined;
  }
}

/** DNS names, in lower case: the subject's common name counts only where there is no alternative name (RFC 6125). */
function namesOf({ subjectAltName, subject }: X509Certificate): string[] {
  const found = subjectAltName?.split(", ").filter((name) => name.startsWith("DNS:")) ?? [];
  const names = found.map((name) => name.slice("DNS:".length));
  if (subjectAltName === undefined) names.push(...(/^CN=(.+)$/m.exec(subject)?.slice(1) ?? []));
  return [...new Set(names.map((name) => name.toLowerCase()))];
}
