/** The parts of a certificate (RFC 5280) that OCSP and ACME need and that Node does not expose. */
import { DerReader, oid, TAG } from "../der.ts";

const AUTHORITY_INFO_ACCESS = oid("1.3.6.1.5.5.7.1.1");
const OCSP_ACCESS = oid("1.3.6.1.5.5.7.48.1");
const AUTHORITY_KEY = oid("2.5.29.35");
/** RFC 7633: the TLS extensions that a server with this certificate must send; 5 is the OCSP response. */
const TLS_FEATURE = oid("1.3.6.1.5.5.7.1.24");
const STATUS_REQUEST = 5;

/** Context-specific tags. */
const VERSION = 0xa0;
const ISSUER_ID = 0x81;
const SUBJECT_ID = 0x82;
const EXTENSIONS = 0xa3;
const URI = 0x86;
const KEY_ID = 0x80;

export type CertificateParts = {
  /** The content of the serial number. */
  readonly serial: Buffer;
  /** Names in DER. */
  readonly issuer: Buffer;
  readonly subject: Buffer;
  /** The bits of the public key, which key hashes are made of. */
  readonly publicKey: Buffer;
  /** The addresses of the OCSP responders. */
  readonly responders: readonly string[];
  /** Clients that know the extension reject this certificate without a stapled response. */
  readonly mustStaple: boolean;
  /** Identifies the issuer's key (RFC 5280 section 4.2.1.1); null: it is not given. */
  readonly authorityKey: Buffer | null;
};

/** @throws Error if the certificate is malformed */
export function readCertificate(bytes: Buffer): CertificateParts {
  const certificate = new DerReader(bytes).enter().enter();
  certificate.readOptional(VERSION);
  const serial = certificate.read(TAG.integer);
  certificate.read(TAG.sequence); // signature algorithm
  const issuer = certificate.next().whole;
  certificate.read(TAG.sequence); // validity
  const subject = certificate.next().whole;
  const key = certificate.enter();
  key.read(TAG.sequence);
  const publicKey = key.readBits();
  certificate.readOptional(ISSUER_ID);
  certificate.readOptional(SUBJECT_ID);
  const extensions = certificate.readOptional(EXTENSIONS);
  return { serial, issuer, subject, publicKey, ...readExtensions(extensions) };
}

function readExtensions(bytes: Buffer | null): Pick<CertificateParts, "responders" | "mustStaple" | "authorityKey"> {
  const responders: string[] = [];
  let mustStaple = false;
  let authorityKey: Buffer | null = null;
  const list = bytes === null ? null : new DerReader(bytes).enter();
  while (list !== null && !list.isDone) {
    const extension = list.enter();
    const id = extension.readOid();
    extension.readOptional(TAG.boolean); // critical
    const value = new DerReader(extension.read(TAG.octetString));
    if (id === AUTHORITY_INFO_ACCESS) responders.push(...readResponders(value.enter()));
    if (id === TLS_FEATURE) mustStaple = hasStatusRequest(value.enter());
    if (id === AUTHORITY_KEY) authorityKey = value.enter().readOptional(KEY_ID);
  }
  return { responders, mustStaple, authorityKey };
}

function readResponders(list: DerReader): string[] {
  const found: string[] = [];
  while (!list.isDone) {
    const access = list.enter();
    const method = access.readOid();
    const { tag, content } = access.next();
    if (method === OCSP_ACCESS && tag === URI) found.push(content.toString("latin1"));
  }
  return found;
}

function hasStatusRequest(list: DerReader): boolean {
  let found = false;
  while (!list.isDone) {
    const feature = list.read(TAG.integer);
    found ||= feature.length === 1 && feature[0] === STATUS_REQUEST;
  }
  return found;
}
