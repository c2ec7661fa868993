/** A certificate from disk or from an ACME server, as workers serve it. */
import { createPrivateKey, X509Certificate } from "node:crypto";
import type { TlsCertificate } from "../../net/managed-certificates.ts";
import { readCertificate } from "../../net/ocsp/certificate.ts";
import { signatureSchemes } from "../../net/tls-server.ts";
import { type CertificateOcsp, checkOcsp } from "../../plan/tls-ocsp.ts";
import { checkChain, type Obtained } from "./order.ts";

export type Served = {
  readonly certificate: TlsCertificate;
  /** Wall-clock ms. */
  readonly validFrom: number;
  readonly validTo: number;
  readonly ocsp: CertificateOcsp;
  /** Its id for renewal information (RFC 9773 section 4.1); null: it has none. */
  readonly renewalId: string | null;
};

export type ServedOptions = {
  readonly names: readonly string[];
  /** For messages. */
  readonly file: string;
  readonly ocsp: "fetch" | "off";
  readonly now: number;
};

/** @throws Error if the certificate is not for these names or the key, or cannot be read */
export function makeServed(
  { cert: text, key: pem }: Obtained,
  { names, file, ocsp: mode, now }: ServedOptions,
): Served {
  const key = createPrivateKey(pem);
  const cert = checkChain(text, names, key);
  const chain = cert
    .match(/-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g)!
    .map((one) => new X509Certificate(one));
  const [leaf] = chain as [X509Certificate];
  const { warning: _, ...ocsp } = checkOcsp({ path: file, chain, mode, file: undefined }, now);
  return {
    certificate: {
      cert,
      key: pem,
      passphrase: "",
      names,
      keyType: key.asymmetricKeyType ?? "",
      schemes: signatureSchemes(key),
      staple: ocsp.source?.id ?? "",
    },
    validFrom: Date.parse(leaf.validFrom),
    validTo: Date.parse(leaf.validTo),
    ocsp,
    renewalId: renewalIdOf(leaf.raw),
  };
}

/** The issuer's key id and the serial number, both in base64url. */
function renewalIdOf(certificate: Buffer): string | null {
  const { authorityKey, serial } = readCertificate(certificate);
  return authorityKey === null ? null : `${authorityKey.toString("base64url")}.${serial.toString("base64url")}`;
}
