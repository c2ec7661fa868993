/** Reads and checks the certificates, keys, authorities and revocation lists of a configuration. */
import { createHash, createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createSecureContext, getCiphers } from "node:tls";
import type { Config, ListenerConfig, NamedFile, Place, Problem } from "../config/schema.ts";
import { type TlsCertificate, TlsServer, type TlsServerOptions } from "../net/tls-server.ts";

type UsesTls = Pick<Config, "listeners">;
type ListenerTls = NonNullable<ListenerConfig["tls"]>;
type Files = ReadonlyMap<string, string | Error>;

/** A certificate in use, for metrics and warnings of its expiry. */
export type CertificateInfo = {
  readonly listener: string;
  /** The file as configured. */
  readonly file: string;
  readonly names: readonly string[];
  /** Wall-clock ms. */
  readonly expires: number;
  readonly at: Place;
};

export type TlsFiles = {
  /** By name of the listener. */
  readonly servers: ReadonlyMap<string, TlsServerOptions>;
  readonly certificates: readonly CertificateInfo[];
  readonly problems: readonly Problem[];
  readonly warnings: readonly Problem[];
};

/** The paths of all files that `readTlsFiles` reads. */
export function listTlsFiles({ listeners }: UsesTls): string[] {
  const files = listeners.flatMap(({ tls }) => [
    ...(tls?.certificates.flatMap(({ cert, key }) => [cert, key]) ?? []),
    ...(tls?.clientCertificates?.ca ?? []),
    ...(tls?.clientCertificates?.crl ?? []),
  ]);
  return [...new Set(files.map(({ path }) => path))];
}

export async function readTlsFiles(config: UsesTls, now = Date.now()): Promise<TlsFiles> {
  const read = async (path: string): Promise<[string, string | Error]> => [
    path,
    await readFile(path, "latin1").catch((error: Error) => error),
  ];
  const files = new Map(await Promise.all(listTlsFiles(config).map(read)));
  return checkTls(config, files, now);
}

function checkTls({ listeners }: UsesTls, files: Files, now: number): TlsFiles {
  const check = new TlsCheck(files, now);
  const servers = new Map<string, TlsServerOptions>();
  for (const { name, tls } of listeners) {
    const server = tls && check.server(name, tls);
    if (server !== undefined) servers.set(name, server);
  }
  return { servers, ...check };
}

class TlsCheck {
  readonly problems: Problem[] = [];
  readonly warnings: Problem[] = [];
  readonly certificates: CertificateInfo[] = [];
  readonly #files: Files;
  readonly #now: number;

  constructor(files: Files, now: number) {
    this.#files = files;
    this.#now = now;
  }

  /** Undefined if there are problems, which are then reported. */
  server(listener: string, tls: ListenerTls): TlsServerOptions | undefined {
    const before = this.problems.length;
    const certificates = tls.certificates.map((one) => this.#certificate(listener, one, tls));
    this.#names(tls, certificates);
    this.#ciphers(tls);
    const clients = this.#clients(tls);
    if (this.problems.length > before) return undefined;
    const options = {
      certificates: certificates as TlsCertificate[],
      minVersion: tls.minVersion,
      maxVersion: tls.maxVersion,
      ciphers: tls.ciphers.join(":"),
      rejectsUnknownNames: tls.unknownName === "reject",
      clients,
    };
    const key = createHash("sha256")
      .update(JSON.stringify([listener, options]))
      .digest("hex");
    const server = { ...options, key };
    try {
      new TlsServer(server);
      return server;
    } catch (error) {
      this.#report(tls.at, `the settings cannot be used: ${(error as Error).message}`);
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
    { cert: file, key: keyFile, passphrase = "", at }: ListenerTls["certificates"][number],
    tls: ListenerTls,
  ): TlsCertificate | undefined {
    const cert = this.#read(file);
    const pem = this.#read(keyFile);
    const chain = cert === undefined ? [] : this.#chain(file, cert);
    const key = pem === undefined ? undefined : this.#key(keyFile, pem, passphrase);
    const [leaf] = chain;
    if (leaf === undefined || cert === undefined || key === undefined || pem === undefined) return undefined;
    this.#validity(file, leaf);
    if (!leaf.checkPrivateKey(key)) {
      this.#report(
        keyFile.at,
        `${keyFile.path} is not the key of the certificate in ${file.path}${this.#owner(key, tls)}`,
      );
      return undefined;
    }
    const names = namesOf(leaf);
    if (names.length === 0) this.#warn(file.at, `the certificate in ${file.path} is for no DNS name`);
    this.certificates.push({ listener, file: file.path, names, expires: Date.parse(leaf.validTo), at });
    return { cert, key: pem, passphrase, names, keyType: (key.asymmetricKeyType ?? "").replace(/-pss$/, "") };
  }

  /** The certificate of the same listener that a key belongs to. */
  #owner(key: KeyObject, tls: ListenerTls): string {
    const owner = tls.certificates.find(({ cert }) => {
      const text = this.#files.get(cert.path);
      const [leaf] = typeof text === "string" ? blocksOf(text) : [];
      return leaf !== undefined && parse(leaf)?.checkPrivateKey(key) === true;
    });
    return owner === undefined ? "" : `, but of that in ${owner.cert.path}`;
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
      else if (!pem.includes("PRIVATE KEY-----")) this.#report(at, `${path} holds no private key in PEM form`);
      else this.#report(at, `the private key in ${path} cannot be read: ${message}`);
      return undefined;
    }
  }

  /** The certificates of a file; none if they cannot be used. */
  #chain({ path, at }: NamedFile, text: string): X509Certificate[] {
    const blocks = blocksOf(text);
    const chain = blocks.map(parse);
    if (blocks.length === 0) this.#report(at, `${path} holds no certificate in PEM form`);
    const bad = chain.indexOf(undefined);
    if (bad >= 0) this.#report(at, `the certificate ${bad + 1} of ${blocks.length} in ${path} cannot be read`);
    if (blocks.length === 0 || bad >= 0) return [];
    const sound = chain as X509Certificate[];
    for (let i = 0; i + 1 < sound.length; i++)
      if (!sound[i]!.checkIssued(sound[i + 1]!))
        this.#warn(
          at,
          `the certificates in ${path} are no chain: number ${i + 2} is not the issuer of number ${i + 1}`,
        );
    return sound;
  }

  #validity({ path, at }: NamedFile, { validFrom, validTo }: X509Certificate): void {
    if (Date.parse(validTo) < this.#now) this.#warn(at, `the certificate in ${path} expired on ${validTo}`);
    if (Date.parse(validFrom) > this.#now)
      this.#warn(at, `the certificate in ${path} is not valid before ${validFrom}`);
  }

  /** Certificates of which the server never uses one, since another has its names and type of key. */
  #names({ certificates }: ListenerTls, made: readonly (TlsCertificate | undefined)[]): void {
    const seen = new Set<string>();
    for (const [index, one] of made.entries()) {
      if (one === undefined) continue;
      const keys = one.names.map((name) => `${name} ${one.keyType}`);
      if (index > 0 && keys.every((key) => seen.has(key)))
        this.#warn(certificates[index]!.at, "never used: certificates before it have its names and type of key");
      for (const key of keys) seen.add(key);
    }
  }

  #ciphers({ ciphers, at }: ListenerTls): void {
    const known = new Set(getCiphers());
    for (const name of ciphers) if (!known.has(name.toLowerCase())) this.#report(at, `unknown cipher "${name}"`);
  }

  #clients({ clientCertificates: given }: ListenerTls): TlsServerOptions["clients"] {
    if (given === undefined || given.mode === "off") return null;
    const ca = given.ca.flatMap((file) => {
      const text = this.#read(file);
      return text === undefined || this.#chain(file, text).length === 0 ? [] : blocksOf(text);
    });
    const crl = given.crl.flatMap((file) => {
      const text = this.#read(file);
      if (text === undefined) return [];
      try {
        createSecureContext({ crl: text });
        return [text];
      } catch (error) {
        this.#report(file.at, `${file.path} holds no revocation list in PEM form: ${(error as Error).message}`);
        return [];
      }
    });
    return { required: given.mode === "required", ca, crl };
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
