/** Certificates for tests, made by the `openssl` command in a directory that is removed after the test. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export type IssueOptions = {
  /** Alternative names, `DNS:a.example,IP:127.0.0.1`. */
  readonly names?: string;
  readonly key?: "ec" | "rsa";
  /** Validity from now; negative: it has expired. */
  readonly days?: number;
  /** Whether its validity begins in 2040 instead. */
  readonly isFuture?: boolean;
  readonly passphrase?: string;
  readonly subject?: string;
  /** Further lines of its extensions. */
  readonly extensions?: readonly string[];
};

const KEYS = { ec: ["ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"], rsa: ["rsa:2048"] } as const;

export class Authority {
  readonly directory: string;
  readonly name: string;

  constructor(directory: string = mkdtempSync(join(tmpdir(), "sluice-tls-")), name = "ca") {
    this.directory = directory;
    this.name = name;
    this.#run(
      "req",
      "-x509",
      "-newkey",
      ...KEYS.ec,
      "-nodes",
      "-days",
      "30",
      "-subj",
      `/CN=${name}`,
      "-keyout",
      `${name}.key`,
      "-out",
      `${name}.pem`,
    );
  }

  /** Writes NAME.pem and NAME.key. */
  issue(
    name: string,
    { names = "DNS:localhost,IP:127.0.0.1", key = "ec", days = 90, ...rest }: IssueOptions = {},
  ): void {
    const { passphrase, subject = `/CN=${name}`, extensions = ["extendedKeyUsage=serverAuth,clientAuth"] } = rest;
    const { isFuture = false } = rest;
    const cipher = passphrase === undefined ? ["-nodes"] : ["-passout", `pass:${passphrase}`];
    this.#run(
      "req",
      "-newkey",
      ...KEYS[key],
      ...cipher,
      "-subj",
      subject,
      "-keyout",
      `${name}.key`,
      "-out",
      `${name}.csr`,
    );
    writeFileSync(join(this.directory, `${name}.ext`), [`subjectAltName=${names}`, ...extensions, ""].join("\n"));
    const files = ["-in", `${name}.csr`, "-extfile", `${name}.ext`, "-out", `${name}.pem`];
    if (isFuture) {
      const dates = ["-startdate", "20400101000000Z", "-enddate", "20410101000000Z"];
      return this.#ca("-batch", "-notext", "-outdir", ".", ...dates, ...files);
    }
    const signer = ["-CA", `${this.name}.pem`, "-CAkey", `${this.name}.key`, "-CAcreateserial"];
    this.#run("x509", "-req", ...signer, "-days", String(days), ...files);
  }

  /** Writes a revocation list of this authority that names the certificate; `isOld`: one that has expired. */
  revoke(name: string, list: string, isOld = false): void {
    const dates = isOld ? ["-crl_lastupdate", "20200101000000Z", "-crl_nextupdate", "20200201000000Z"] : [];
    this.#ca("-revoke", `${name}.pem`);
    this.#ca("-gencrl", "-out", list, ...dates);
  }

  /** `openssl ca`; `-gencrl` lists what was revoked by the call before. */
  #ca(...args: string[]): void {
    const policy = "policy=p\n[p]\ncommonName=supplied\norganizationName=optional";
    const settings = `[ca]\ndefault_ca=a\n[a]\ndatabase=index.txt\ndefault_md=sha256\ndefault_crl_days=30\nrand_serial=yes\n${policy}\n`;
    if (args[0] !== "-gencrl") writeFileSync(this.path("index.txt"), "");
    writeFileSync(this.path("ca.cnf"), settings);
    this.#run("ca", "-config", "ca.cnf", "-keyfile", `${this.name}.key`, "-cert", `${this.name}.pem`, ...args);
  }

  path(file: string): string {
    return join(this.directory, file);
  }

  read(file: string): string {
    return readFileSync(this.path(file), "utf8");
  }

  readBytes(file: string): Buffer {
    return readFileSync(this.path(file));
  }

  remove(): void {
    rmSync(this.directory, { recursive: true, force: true });
  }

  #run(...args: string[]): void {
    execFileSync("openssl", args, { cwd: this.directory, stdio: ["ignore", "ignore", "pipe"] });
  }
}
