/** OCSP with the `openssl ocsp` command: responses from the index file of an authority. */
import { execFileSync } from "node:child_process";
import { sign, X509Certificate } from "node:crypto";
import { writeFileSync } from "node:fs";
import { der, oid, TAG } from "../../src/net/der.ts";
import { certificateId, SHA1 } from "../../src/net/ocsp/request.ts";
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

const DAY = 86_400_000;
const hex = (text: string) => Buffer.from(text, "hex");
const sequence = (...parts: Buffer[]) => der(TAG.sequence, ...parts);
const objectId = (dotted: string) => der(TAG.oid, hex(oid(dotted)));

function timeOf(at: number): Buffer {
  const text = new Date(at).toISOString().slice(0, 19).replace(/[-:T]/g, "");
  return der(TAG.generalizedTime, Buffer.from(`${text}Z`));
}

export type SignOptions = {
  /** Wall-clock ms; it is valid for a day. */
  readonly thisUpdate?: number;
  readonly status?: "good" | "revoked";
  /** Of an extension of the response. */
  readonly isCritical?: boolean;
};

/** A response of the authority as `openssl ocsp` cannot make it, about a certificate of it. */
export function signResponse(
  authority: Authority,
  name: string,
  { thisUpdate = Date.now(), status = "good", isCritical = false }: SignOptions = {},
): Buffer {
  const { issuerName, issuerKey, serial } = certificateId(issuedBy(authority, name));
  const hash = sequence(der(TAG.oid, hex(SHA1)));
  const id = sequence(
    hash,
    der(TAG.octetString, issuerName),
    der(TAG.octetString, issuerKey),
    der(TAG.integer, serial),
  );
  const state = status === "good" ? der(0x80) : der(0xa1, timeOf(Date.UTC(2025, 0, 1)));
  const single = sequence(id, state, timeOf(thisUpdate), der(0xa0, timeOf(thisUpdate + DAY)));
  const critical = isCritical ? [der(TAG.boolean, hex("ff"))] : [];
  const extension = sequence(objectId("1.2.3"), ...critical, der(TAG.octetString));
  const responder = der(0xa2, der(TAG.octetString, issuerKey));
  const data = sequence(responder, timeOf(thisUpdate), sequence(single), der(0xa1, sequence(extension)));
  const signature = sign("sha256", data, authority.read(`${authority.name}.key`));
  const basic = sequence(data, sequence(objectId("1.2.840.10045.4.3.2")), der(TAG.bitString, hex("00"), signature));
  const typed = sequence(objectId("1.3.6.1.5.5.7.48.1.1"), der(TAG.octetString, basic));
  return sequence(der(TAG.enumerated, hex("00")), der(0xa0, typed));
}

function certificateOf(authority: Authority, name: string): X509Certificate {
  return new X509Certificate(authority.read(`${name}.pem`));
}
