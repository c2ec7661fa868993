/** Writes the X.509 structures that ACME needs, which Node cannot: certificate requests and challenge certificates. */
import {
  createHash,
  createPublicKey,
  generateKeyPair,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  sign,
} from "node:crypto";
import { promisify } from "node:util";
import { der, derBits, derOid, derTime, TAG } from "../der.ts";

/** Keys of certificates: elliptic curves and RSA with this number of bits. */
export const KEY_TYPES = ["p256", "p384", "rsa2048", "rsa4096"] as const;
export type KeyType = (typeof KEY_TYPES)[number];

const ECDSA_SHA256 = der(TAG.sequence, derOid("1.2.840.10045.4.3.2"));
const ECDSA_SHA384 = der(TAG.sequence, derOid("1.2.840.10045.4.3.3"));
const RSA_SHA256 = der(TAG.sequence, derOid("1.2.840.113549.1.1.11"), der(TAG.null));
const COMMON_NAME = derOid("2.5.4.3");
const EXTENSION_REQUEST = derOid("1.2.840.113549.1.9.14");
const ALTERNATIVE_NAMES = derOid("2.5.29.17");
/** id-pe-acmeIdentifier (RFC 8737 section 6.1). */
const ACME_IDENTIFIER = derOid("1.3.6.1.5.5.7.1.31");
const TRUE = der(TAG.boolean, Buffer.from([0xff]));

const generatePair = promisify(generateKeyPair);

/** Context-specific tags. */
const ATTRIBUTES = 0xa0;
const VERSION = 0xa0;
const EXTENSIONS = 0xa3;
const DNS_NAME = 0x82;
const DAY = 86_400_000;

/** A new key. Those of RSA take seconds, in another thread. */
export async function makeCertificateKey(type: KeyType): Promise<KeyObject> {
  if (type === "p256") return makeKey();
  const { privateKey } =
    type === "p384"
      ? generateKeyPairSync("ec", { namedCurve: "secp384r1" })
      : await generatePair("rsa", { modulusLength: Number(type.slice(3)) });
  return privateKey;
}

/** A new P-256 key. */
export function makeKey(): KeyObject {
  return generateKeyPairSync("ec", { namedCurve: "prime256v1" }).privateKey;
}

export function pemOfKey(key: KeyObject): string {
  return key.export({ type: "pkcs8", format: "pem" });
}

/** A request (PKCS #10, RFC 2986) in DER for these DNS names, with a key of `KEY_TYPES`. The subject is empty. */
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
  const isP384 = key.asymmetricKeyDetails?.namedCurve === "secp384r1";
  const algorithm = key.asymmetricKeyType === "rsa" ? RSA_SHA256 : isP384 ? ECDSA_SHA384 : ECDSA_SHA256;
  return der(TAG.sequence, info, algorithm, derBits(sign(isP384 ? "sha384" : "sha256", info, key)));
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
