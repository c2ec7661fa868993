/** Writes the X.509 structures that ACME needs, which Node cannot: certificate requests and challenge certificates. */
import { createHash, createPublicKey, generateKeyPairSync, type KeyObject, randomBytes, sign } from "node:crypto";
import { der, derBits, derOid, derTime, TAG } from "../der.ts";

const ECDSA_SHA256 = der(TAG.sequence, derOid("1.2.840.10045.4.3.2"));
const COMMON_NAME = derOid("2.5.4.3");
const EXTENSION_REQUEST = derOid("1.2.840.113549.1.9.14");
const ALTERNATIVE_NAMES = derOid("2.5.29.17");
/** id-pe-acmeIdentifier (RFC 8737 section 6.1). */
const ACME_IDENTIFIER = derOid("1.3.6.1.5.5.7.1.31");
const TRUE = der(TAG.boolean, Buffer.from([0xff]));

/** Context-specific tags. */
const ATTRIBUTES = 0xa0;
const VERSION = 0xa0;
const EXTENSIONS = 0xa3;
const DNS_NAME = 0x82;
const DAY = 86_400_000;

/** A new P-256 key. */
export function makeKey(): KeyObject {
  return generateKeyPairSync("ec", { namedCurve: "prime256v1" }).privateKey;
}

export function pemOfKey(key: KeyObject): string {
  return key.export({ type: "pkcs8", format: "pem" });
}

/** A request (PKCS #10, RFC 2986) in DER for these DNS names, with a P-256 key. The subject is empty. */
export function makeRequest(names: readonly string[], key: KeyObject): Buffer {
  const extensions = der(TAG.sequence, alternativeNames(names));
  const info = der(
    TAG.sequence,
    integer(0),
    der(TAG.sequence),
    publicKeyOf(key),
    der(ATTRIBUTES, der(TAG.sequence, EXTENSION_REQUEST, der(TAG.set, extensions))),
  );
  return signed(info, key);
}

/** A certificate that validates a name by TLS-ALPN-01 (RFC 8737 section 3), and its key, both in PEM. */
export function makeChallengeCertificate(name: string, keyAuthorization: string): { cert: string; key: string } {
  const key = makeKey();
  const subject = der(TAG.sequence, der(TAG.set, der(TAG.sequence, COMMON_NAME, utf8("ACME challenge"))));
  const digest = createHash("sha256").update(keyAuthorization).digest();
  const identifier = extension(ACME_IDENTIFIER, der(TAG.octetString, digest), TRUE);
  const now = Date.now();
  const certificate = signed(
    der(
      TAG.sequence,
      der(VERSION, integer(2)),
      der(TAG.integer, Buffer.concat([Buffer.from([1]), randomBytes(15)])),
      ECDSA_SHA256,
      subject,
      der(TAG.sequence, derTime(now - DAY), derTime(now + 7 * DAY)),
      subject,
      publicKeyOf(key),
      der(EXTENSIONS, der(TAG.sequence, alternativeNames([name]), identifier)),
    ),
    key,
  );
  return { cert: pemOf("CERTIFICATE", certificate), key: pemOfKey(key) };
}

function pemOf(label: string, bytes: Buffer): string {
  const lines = bytes.toString("base64").match(/.{1,64}/g)!;
  return `-----BEGIN ${label}-----\n${lines.join("\n")}\n-----END ${label}-----\n`;
}

function signed(info: Buffer, key: KeyObject): Buffer {
  return der(TAG.sequence, info, ECDSA_SHA256, derBits(sign("sha256", info, key)));
}

function publicKeyOf(key: KeyObject): Buffer {
  return createPublicKey(key).export({ type: "spki", format: "der" });
}

function alternativeNames(names: readonly string[]): Buffer {
  const list = names.map((name) => der(DNS_NAME, Buffer.from(name, "latin1")));
  return extension(ALTERNATIVE_NAMES, der(TAG.sequence, ...list));
}

function extension(id: Buffer, value: Buffer, ...critical: readonly Buffer[]): Buffer {
  return der(TAG.sequence, id, ...critical, der(TAG.octetString, value));
}

function integer(value: number): Buffer {
  return der(TAG.integer, Buffer.from([value]));
}

function utf8(text: string): Buffer {
  return der(TAG.utf8String, Buffer.from(text));
}
