/** Certificate revocation lists (RFC 5280 section 5), which certificates of clients and endpoints are checked against. */
import { X509Certificate } from "node:crypto";
import { createSecureContext } from "node:tls";
import { DerReader, der, TAG } from "../net/der.ts";
import { readCertificate } from "../net/ocsp/certificate.ts";

/** RFC 5280 section 4.1.2.5.1: two digits of the year, from 1950 to 2049. */
const UTC_TIME = 0x17;

type RevocationList = {
  readonly pem: string;
  /** Its name in DER. */
  readonly issuer: Buffer;
  /** Wall-clock ms; `nextUpdate`: infinite if there is none. */
  readonly thisUpdate: number;
  readonly nextUpdate: number;
};

/** The lists of a PEM file; null stands for one that cannot be read. OpenSSL reads only the first one of a text. */
export function readRevocationLists(text: string): (RevocationList | null)[] {
  const blocks = text.match(/-----BEGIN X509 CRL-----[\s\S]*?-----END X509 CRL-----/g) ?? [];
  return blocks.map((pem) => {
    try {
      createSecureContext({ crl: pem });
      return { pem, ...readList(Buffer.from(pem.replace(/-----[^-]+-----/g, ""), "base64")) };
    } catch {
      return null;
    }
  });
}

function readList(bytes: Buffer): Omit<RevocationList, "pem"> {
  const list = new DerReader(bytes).enter().enter();
  list.readOptional(TAG.integer); // version
  list.read(TAG.sequence); // signature algorithm
  const issuer = list.next().whole;
  const thisUpdate = readTime(list) ?? 0;
  return { issuer, thisUpdate, nextUpdate: readTime(list) ?? Number.POSITIVE_INFINITY };
}

/** The next element; null if it is not a time. */
function readTime(list: DerReader): number | null {
  if (list.isDone) return null;
  const { tag, content, whole } = list.next();
  if (tag === TAG.generalizedTime) return new DerReader(whole).readTime();
  if (tag !== UTC_TIME) return null;
  const century = content.toString("latin1", 0, 2) < "50" ? "20" : "19";
  return new DerReader(der(TAG.generalizedTime, Buffer.from(century), content)).readTime();
}

/** Why OpenSSL would reject all certificates of the list's authority now; empty: it does not. */
export function problemOfDates({ thisUpdate, nextUpdate }: RevocationList, now: number): string {
  if (nextUpdate < now) return `expired at ${new Date(nextUpdate).toISOString()}`;
  return thisUpdate > now ? `is not valid before ${new Date(thisUpdate).toISOString()}` : "";
}

/** The names of the authorities (PEM) of which there is no list: all their certificates are rejected. */
export function authoritiesWithoutList(authorities: readonly string[], lists: readonly RevocationList[]): string[] {
  const names = authorities.flatMap((pem) => {
    const { raw, subject } = new X509Certificate(pem);
    const name = readName(raw);
    return name === null || lists.some(({ issuer }) => issuer.equals(name)) ? [] : [subject.replaceAll("\n", ", ")];
  });
  return [...new Set(names)];
}

function readName(certificate: Buffer): Buffer | null {
  try {
    return readCertificate(certificate).subject;
  } catch {
    return null;
  }
}
