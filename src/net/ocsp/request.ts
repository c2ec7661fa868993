/** OCSP requests (RFC 6960 section 4.1) in the profile of RFC 5019: one certificate, SHA-1, no nonce. */
import { createHash } from "node:crypto";
import { der, oid, TAG } from "../der.ts";
import { readCertificate } from "./certificate.ts";

export const SHA1 = oid("1.3.14.3.2.26");
const NULL = Buffer.from([5, 0]);

/** A certificate and its issuer's, in DER. */
export type IssuedCertificate = { readonly certificate: Buffer; readonly issuer: Buffer };

/** Identifies a certificate to its responder. SHA-1 only names the issuer: nothing depends on its collisions. */
export type CertificateId = { readonly issuerName: Buffer; readonly issuerKey: Buffer; readonly serial: Buffer };

/** @throws Error if a certificate is malformed */
export function certificateId({ certificate, issuer }: IssuedCertificate): CertificateId {
  const { serial, issuer: name } = readCertificate(certificate);
  return { issuerName: sha1(name), issuerKey: sha1(readCertificate(issuer).publicKey), serial };
}

/** @throws Error if a certificate is malformed */
export function makeRequest(issued: IssuedCertificate): Buffer {
  const { issuerName, issuerKey, serial } = certificateId(issued);
  const id = der(
    TAG.sequence,
    der(TAG.sequence, der(TAG.oid, Buffer.from(SHA1, "hex")), NULL),
    der(TAG.octetString, issuerName),
    der(TAG.octetString, issuerKey),
    der(TAG.integer, serial),
  );
  // OCSPRequest, TBSRequest, requestList, Request.
  return [1, 2, 3, 4].reduce((content) => der(TAG.sequence, content), id);
}

export function sha1(bytes: Buffer): Buffer {
  return createHash("sha1").update(bytes).digest();
}
