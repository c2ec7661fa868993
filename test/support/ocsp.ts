/** OCSP with the `openssl ocsp` command: responses from the index file of an authority. */
import { execFileSync } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { writeFileSync } from "node:fs";
import type { Authority } from "./certificates.ts";

/** Extensions of a certificate whose responder has this address. */
export function withResponder(url: string, ...more: readonly string[]): string[] {
  return ["extendedKeyUsage=serverAuth", `authorityInfoAccess=OCSP;URI:${url}`, ...more];
}

export const MUST_STAPLE = "tlsfeature=status_request";

/** Writes the index file of an authority, by name of the certificate. */
export function writeIndex(
  authority: Authority,
  statuses: Readonly<Record<string, "good" | "revoked">>,
  index = "ocsp.txt",
): void {
  const lines = Object.entries(statuses).map(([name, status]) => {
    const { serialNumber, subject } = certificateOf(authority, name);
    const [state, revoked] = status === "good" ? ["V", ""] : ["R", "250101000000Z,keyCompromise"];
    return [state, "400101000000Z", revoked, serialNumber, "unknown", `/${subject.replaceAll("\n", "/")}`].join("\t");
  });
  writeFileSync(authority.path(index), `${lines.join("\n")}\n`);
}

/** A certificate of the authority and its issuer's, in DER. */
export function issuedBy(authority: Authority, name: string): { certificate: Buffer; issuer: Buffer } {
  return { certificate: certificateOf(authority, name).raw, issuer: certificateOf(authority, authority.name).raw };
}

export type RespondOptions = {
  /** Names of the certificate and key that sign; default: the authority's. */
  readonly signer?: string;
  /** Validity in days; null: no `nextUpdate`. */
  readonly days?: number | null;
  readonly index?: string;
  readonly more?: readonly string[];
};

/** The response of `openssl ocsp` to a request. */
export function respond(authority: Authority, request: Buffer, options: RespondOptions = {}): Buffer {
  const { signer = authority.name, days = 1, index = "ocsp.txt", more = [] } = options;
  const ca = authority.path(`${authority.name}.pem`);
  writeFileSync(authority.path("ocsp-request.der"), request);
  const args = ["ocsp", "-index", authority.path(index), "-CA", ca, "-rsigner", authority.path(`${signer}.pem`)];
  args.push("-rkey", authority.path(`${signer}.key`), ...(days === null ? [] : ["-ndays", String(days)]), ...more);
  args.push("-reqin", authority.path("ocsp-request.der"), "-respout", authority.path("ocsp-response.der"));
  execFileSync("openssl", args, { stdio: ["ignore", "ignore", "pipe"] });
  return authority.readBytes("ocsp-response.der");
}

function certificateOf(authority: Authority, name: string): X509Certificate {
  return new X509Certificate(authority.read(`${name}.pem`));
}
