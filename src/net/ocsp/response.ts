/** Reads and verifies OCSP responses (RFC 6960 section 4.2). */
import { constants, type KeyObject, verify, X509Certificate } from "node:crypto";
import { DerReader, oid, TAG } from "../der.ts";
import { readCertificate } from "./certificate.ts";
import { type CertificateId, certificateId, type IssuedCertificate, SHA1, sha1 } from "./request.ts";

/** Most bytes of a response: it is sent in every handshake. Usual ones have 0.5 to 2 KiB. */
export const MAX_RESPONSE = 32 * 1024;
/** Most certificates of a response that are considered. */
const MAX_CERTIFICATES = 8;
/** How far a responder's clock may be ahead, ms. */
const CLOCK_SKEW = 300_000;
/** Of a response without nextUpdate, ms: its responder makes one for each request. */
const LONGEST_AGE = 86_400_000;

const BASIC = oid("1.3.6.1.5.5.7.48.1.1");
/** Extended key usage of a responder that an authority has delegated to. */
const OCSP_SIGNING = "1.3.6.1.5.5.7.3.9";
const RSA_PSS = oid("1.2.840.113549.1.1.10");

/** Signature algorithms by object identifier: the hash, null where the algorithm has its own. SHA-1 is not accepted. */
const SIGNATURES: ReadonlyMap<string, string | null> = new Map([
  [oid("1.2.840.113549.1.1.11"), "sha256"],
  [oid("1.2.840.113549.1.1.12"), "sha384"],
  [oid("1.2.840.113549.1.1.13"), "sha512"],
  [oid("1.2.840.10045.4.3.2"), "sha256"],
  [oid("1.2.840.10045.4.3.3"), "sha384"],
  [oid("1.2.840.10045.4.3.4"), "sha512"],
  [oid("1.3.101.112"), null],
  [oid("1.3.101.113"), null],
]);
const HASHES: ReadonlyMap<string, string> = new Map([
  [oid("2.16.840.1.101.3.4.2.1"), "sha256"],
  [oid("2.16.840.1.101.3.4.2.2"), "sha384"],
  [oid("2.16.840.1.101.3.4.2.3"), "sha512"],
]);

/** OCSPResponseStatus other than `successful`. */
const FAILURES: Readonly<Record<number, string>> = {
  1: "malformedRequest",
  2: "internalError",
  3: "tryLater",
  5: "sigRequired",
  6: "unauthorized",
};

/** Context-specific tags. */
const EXPLICIT_0 = 0xa0;
const EXTENSIONS = 0xa1;
const BY_NAME = 0xa1;
const BY_KEY = 0xa2;
const GOOD = 0x80;
const REVOKED = 0xa1;
const UNKNOWN = 0x82;

/** A verified statement of the responder. Times are wall-clock ms. */
export type OcspStatement = {
  readonly status: "good" | "revoked" | "unknown";
  readonly thisUpdate: number;
  /** Null: the responder does not say until when the statement is valid. */
  readonly nextUpdate: number | null;
  /** Revoked only. */
  readonly revokedAt: number | null;
};

type Verifier = (signed: Buffer, key: KeyObject, signature: Buffer) => boolean;

type Basic = {
  readonly signed: Buffer;
  readonly responder: { readonly tag: number; readonly content: Buffer };
  readonly statements: readonly (OcspStatement & { readonly id: CertificateId | null })[];
  /** Null: the algorithm is not supported. */
  readonly isSigned: Verifier | null;
  readonly signature: Buffer;
  readonly certificates: readonly Buffer[];
};

/**
 * Verifies that a response is about this certificate, is signed by its issuer or a responder that the issuer has
 * delegated to, and is valid now. @throws Error with the reason
 */
export function verifyResponse(bytes: Buffer, issued: IssuedCertificate, now: number): OcspStatement {
  if (bytes.length > MAX_RESPONSE) throw new Error(`the response has more than ${MAX_RESPONSE} bytes`);
  const basic = readResponse(bytes);
  const id = certificateId(issued);
  const found = basic.statements.find((one) => one.id !== null && isSame(one.id, id));
  if (found === undefined) throw new Error("the response is about another certificate");
  verifySignature(basic, issued.issuer, now);
  const { thisUpdate, nextUpdate } = found;
  if (thisUpdate > now + CLOCK_SKEW) throw new Error(`the response is not valid before ${isoTime(thisUpdate)}`);
  if (nextUpdate === null && thisUpdate < now - LONGEST_AGE)
    throw new Error(`the response of ${isoTime(thisUpdate)} is too old to have no nextUpdate`);
  if (nextUpdate !== null && nextUpdate <= now) throw new Error(`the response expired at ${isoTime(nextUpdate)}`);
  return found;
}

function readResponse(bytes: Buffer): Basic {
  try {
    const outer = new DerReader(bytes);
    const response = outer.enter();
    outer.end();
    const status = response.read(TAG.enumerated);
    if (status.length !== 1 || status[0] !== 0) throw new ResponderError(FAILURES[status[0]!] ?? "an unknown error");
    const body = response.enter(EXPLICIT_0).enter();
    if (body.readOid() !== BASIC) throw new Error("unknown type of response");
    return readBasic(new DerReader(body.read(TAG.octetString)).enter());
  } catch (error) {
    if (error instanceof ResponderError) throw error;
    throw new Error(`the response is not an OCSP response: ${(error as Error).message}`, { cause: error });
  }
}

class ResponderError extends Error {
  constructor(status: string) {
    super(`the responder reported ${status}`);
  }
}

function readBasic(basic: DerReader): Basic {
  const { tag, content, whole: signed } = basic.next();
  if (tag !== TAG.sequence) throw new Error("malformed DER");
  const data = new DerReader(content);
  data.readOptional(EXPLICIT_0); // version
  const responder = data.next();
  data.readTime(); // producedAt
  const list = data.enter();
  const statements: Basic["statements"][number][] = [];
  while (!list.isDone) statements.push(readStatement(list.enter()));
  rejectCritical(data.readOptional(EXTENSIONS));
  const isSigned = readAlgorithm(basic.enter());
  const signature = basic.readBits();
  const certificates: Buffer[] = [];
  const sent = basic.readOptional(EXPLICIT_0);
  const chain = sent === null ? null : new DerReader(sent).enter();
  while (chain !== null && !chain.isDone) certificates.push(chain.next().whole);
  return { signed, responder, statements, isSigned, signature, certificates };
}

function readStatement(single: DerReader): Basic["statements"][number] {
  const id = readId(single.enter());
  const { tag, content } = single.next();
  const status = tag === GOOD ? "good" : tag === REVOKED ? "revoked" : "unknown";
  if (status === "unknown" && tag !== UNKNOWN) throw new Error("unknown certificate status");
  const revokedAt = status === "revoked" ? new DerReader(content).readTime() : null;
  const thisUpdate = single.readTime();
  const next = single.readOptional(EXPLICIT_0);
  const nextUpdate = next === null ? null : new DerReader(next).readTime();
  rejectCritical(single.readOptional(EXTENSIONS));
  return { id, status, thisUpdate, nextUpdate, revokedAt };
}

/** Clients reject a response with a critical extension that they do not know; none is known here. */
function rejectCritical(extensions: Buffer | null): void {
  const list = extensions === null ? null : new DerReader(extensions).enter();
  while (list !== null && !list.isDone) {
    const extension = list.enter();
    const id = extension.readOid();
    const isCritical = extension.readOptional(TAG.boolean);
    if (isCritical !== null && isCritical[0] !== 0) throw new Error(`unknown critical extension ${id}`);
  }
}

/** Null: made with another hash than the request. */
function readId(id: DerReader): CertificateId | null {
  const hash = id.enter().readOid();
  const [issuerName, issuerKey] = [id.read(TAG.octetString), id.read(TAG.octetString)];
  const serial = id.read(TAG.integer);
  return hash === SHA1 ? { issuerName, issuerKey, serial } : null;
}

function isSame(a: CertificateId, b: CertificateId): boolean {
  return a.serial.equals(b.serial) && a.issuerName.equals(b.issuerName) && a.issuerKey.equals(b.issuerKey);
}

function verifySignature({ signed, responder, isSigned, signature, certificates }: Basic, der: Buffer, now: number) {
  const issuer = new X509Certificate(der);
  const delegates = certificates.slice(0, MAX_CERTIFICATES).filter((one) => isNamed(one, responder));
  const signers = isNamed(der, responder) ? [issuer] : delegates.flatMap((one) => delegated(one, issuer, now));
  if (signers.length === 0) throw new Error("the response is not signed by the issuer or a responder of the issuer");
  if (isSigned === null) throw new Error("the response is signed with an unsupported algorithm");
  if (!signers.some(({ publicKey }) => isSigned(signed, publicKey, signature)))
    throw new Error("the signature of the response is invalid");
}

/** Whether a certificate is that of the responder. */
function isNamed(certificate: Buffer, { tag, content }: Basic["responder"]): boolean {
  try {
    const { subject, publicKey } = readCertificate(certificate);
    const value = new DerReader(content).next();
    if (tag === BY_NAME) return subject.equals(value.whole);
    return tag === BY_KEY && value.tag === TAG.octetString && sha1(publicKey).equals(value.content);
  } catch {
    return false;
  }
}

/** The certificate if the issuer has delegated to it (RFC 6960 section 4.2.2.2). */
function delegated(der: Buffer, issuer: X509Certificate, now: number): X509Certificate[] {
  try {
    const certificate = new X509Certificate(der);
    const { validFromDate, validToDate, keyUsage } = certificate;
    const isValid = validFromDate.getTime() <= now + CLOCK_SKEW && validToDate.getTime() >= now;
    const mayOcsp = (keyUsage as string[] | undefined)?.includes(OCSP_SIGNING) === true;
    return isValid && mayOcsp && certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey)
      ? [certificate]
      : [];
  } catch {
    return [];
  }
}

function readAlgorithm(algorithm: DerReader): Verifier | null {
  const id = algorithm.readOid();
  const isPss = id === RSA_PSS;
  const hash = isPss ? readPssHash(algorithm) : SIGNATURES.get(id);
  if (hash === undefined) return null;
  const { RSA_PKCS1_PSS_PADDING: padding, RSA_PSS_SALTLEN_AUTO: saltLength } = constants;
  return (signed, key, signature) => {
    try {
      return verify(hash, signed, isPss ? { key, padding, saltLength } : key, signature);
    } catch {
      return false; // The key is of another type than the algorithm.
    }
  };
}

/** The hash of RSASSA-PSS parameters (RFC 4055); undefined: SHA-1, or an unknown one. */
function readPssHash(algorithm: DerReader): string | undefined {
  const hash = algorithm.enter().readOptional(EXPLICIT_0);
  return hash === null ? undefined : HASHES.get(new DerReader(hash).enter().readOid());
}

export function isoTime(time: number): string {
  return new Date(time).toISOString();
}
