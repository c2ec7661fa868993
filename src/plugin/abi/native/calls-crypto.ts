/** `sluice:crypto/1` by `node:crypto`. Unusable arguments return `invalid`; none of them makes a call throw. */
import {
  constants,
  createHmac,
  createPublicKey,
  hash,
  type KeyObject,
  randomFillSync,
  timingSafeEqual,
  verify,
} from "node:crypto";
import { CRYPTO_FUEL, DIGEST, FUEL, LIMIT, SIGNATURE, STATUS } from "../../../abi/abi.ts";
import type { CallContext } from "../call-context.ts";

const DIGESTS: readonly string[] = Object.keys(DIGEST);

/** A cache of parsed keys for all guests of the worker. Keys are public, so its timing reveals no secret. */
const CACHED_KEYS = 256;
const keys = new Map<string, KeyObject | null>();

/** Least size of RSA keys (RFC 7518 section 3.3). */
const LEAST_BITS = 2048;
/** Most bits of RSA keys: above, a verification takes a millisecond. */
const MOST_BITS = 8192;
/** Limit of RSA exponents: with longer ones a verification is as slow as a signature. */
const EXPONENTS = 2n ** 32n;
const P256_SIGNATURE = 64;
const ED25519_SIGNATURE = 64;

export function makeCryptoCalls(context: CallContext) {
  const { memory } = context;
  /** Charges fuel before the work is done. @throws Fault */
  const pay = (units: number, bytes: number): void =>
    context.spend((units + Math.ceil(bytes / CRYPTO_FUEL.bytesPerUnit)) * FUEL.bytesPerUnit);
  const view = (pointer: number, length: number): Buffer => {
    const start = memory.check(pointer, length);
    return memory.bytes.subarray(start, start + (length >>> 0));
  };

  return {
    digest(algorithm: number, data: number, length: number, out: number, cap: number): number {
      context.enter("digest", length >>> 0);
      const bytes = view(data, length);
      memory.check(out, cap);
      const name = DIGESTS[algorithm];
      if (name === undefined) return context.leave(STATUS.invalid);
      pay(CRYPTO_FUEL.digest, bytes.length);
      const made = hash(name, bytes, "buffer");
      return context.leave(memory.give(made, 0, made.length, out, cap));
    },

    hmac(
      algorithm: number,
      key: number,
      keyLength: number,
      data: number,
      length: number,
      out: number,
      cap: number,
    ): number {
      context.enter("hmac", (keyLength >>> 0) + (length >>> 0));
      const secret = view(key, keyLength);
      const bytes = view(data, length);
      memory.check(out, cap);
      const name = DIGESTS[algorithm];
      if (name === undefined) return context.leave(STATUS.invalid);
      pay(CRYPTO_FUEL.hmac, secret.length + bytes.length);
      const made = createHmac(name, secret).update(bytes).digest();
      return context.leave(memory.give(made, 0, made.length, out, cap));
    },

    equal(a: number, aLength: number, b: number, bLength: number): number {
      context.enter("equal", (aLength >>> 0) + (bLength >>> 0));
      const left = view(a, aLength);
      const right = view(b, bLength);
      return context.leave(left.length === right.length && timingSafeEqual(left, right) ? 1 : 0);
    },

    verify(
      algorithm: number,
      key: number,
      keyLength: number,
      data: number,
      length: number,
      signature: number,
      signatureLength: number,
    ): number {
      context.enter("verify", (keyLength >>> 0) + (length >>> 0) + (signatureLength >>> 0));
      const text = view(key, keyLength);
      const bytes = view(data, length);
      const signed = view(signature, signatureLength);
      if (algorithm < 0 || algorithm > SIGNATURE.eddsa) return context.leave(STATUS.invalid);
      if (text.length > LIMIT.publicKey) return context.leave(STATUS.tooLarge);
      pay(CRYPTO_FUEL.verify, bytes.length);
      const id = `${algorithm} ${hash("sha256", text, "base64")}`;
      let parsed = keys.get(id);
      if (parsed === undefined) {
        pay(CRYPTO_FUEL.key, 0);
        parsed = parseKey(algorithm, text.toString("utf8"));
      } else keys.delete(id);
      keepKey(id, parsed);
      if (parsed === null) return context.leave(STATUS.invalid);
      return context.leave(isSigned(algorithm, parsed, bytes, signed) ? 1 : 0);
    },

    random_bytes(out: number, length: number): number {
      context.enter("random_bytes", length >>> 0);
      const bytes = view(out, length);
      if (bytes.length > LIMIT.randomBytes) return context.leave(STATUS.tooLarge);
      pay(CRYPTO_FUEL.random, 0);
      randomFillSync(bytes);
      return context.leave(STATUS.ok);
    },
  };
}

/** Adds a key as the most recently used one and evicts the least recently used. Invalid keys (null) are cached too. */
function keepKey(id: string, key: KeyObject | null): void {
  if (keys.size >= CACHED_KEYS) keys.delete(keys.keys().next().value!);
  keys.set(id, key);
}

/** Parses a public key (PEM or JWK); null if it is invalid or not for the algorithm. */
function parseKey(algorithm: number, text: string): KeyObject | null {
  try {
    const key = text.trimStart().startsWith("{") ? parseJwk(algorithm, text) : parsePem(text);
    return key !== null && isFor(algorithm, key) ? key : null;
  } catch {
    // All errors of `node:crypto` and the JSON parser mean that the key is invalid.
    return null;
  }
}

/** Only public keys: Node would also accept private keys and certificates. */
function parsePem(text: string): KeyObject | null {
  return /^\s*-----BEGIN PUBLIC KEY-----\s/.test(text) ? createPublicKey(text) : null;
}

/** By SIGNATURE: names in `alg` (RFC 7518 section 3.1, RFC 8037, RFC 9864). */
const JOSE: readonly (readonly string[])[] = [["RS256"], ["PS256"], ["ES256"], ["EdDSA", "Ed25519"]];

function parseJwk(algorithm: number, text: string): KeyObject | null {
  const jwk = JSON.parse(text) as JsonWebKey;
  const { alg, use, key_ops, d } = jwk;
  if (alg !== undefined && !JOSE[algorithm]!.includes(alg)) return null;
  if (use !== undefined && use !== "sig") return null;
  if (key_ops !== undefined && !(Array.isArray(key_ops) && key_ops.includes("verify"))) return null;
  return d === undefined ? createPublicKey({ key: jwk, format: "jwk" }) : null;
}

function isFor(algorithm: number, { asymmetricKeyType, asymmetricKeyDetails = {} }: KeyObject): boolean {
  const { modulusLength = 0, publicExponent = 0n, namedCurve } = asymmetricKeyDetails;
  if (algorithm === SIGNATURE.es256) return asymmetricKeyType === "ec" && namedCurve === "prime256v1";
  if (algorithm === SIGNATURE.eddsa) return asymmetricKeyType === "ed25519";
  const sound = modulusLength >= LEAST_BITS && modulusLength <= MOST_BITS && publicExponent < EXPONENTS;
  return asymmetricKeyType === "rsa" && sound;
}

function isSigned(algorithm: number, key: KeyObject, data: Buffer, signature: Buffer): boolean {
  switch (algorithm) {
    case SIGNATURE.rs256:
      return verify("sha256", data, { key, padding: constants.RSA_PKCS1_PADDING }, signature);
    case SIGNATURE.ps256:
      return verify(
        "sha256",
        data,
        { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST },
        signature,
      );
    case SIGNATURE.es256:
      return (
        signature.length === P256_SIGNATURE && verify("sha256", data, { key, dsaEncoding: "ieee-p1363" }, signature)
      );
    default:
      return signature.length === ED25519_SIGNATURE && verify(null, data, key, signature);
  }
}
