/** Host calls over `node:crypto`. Nothing that a guest hands in makes them throw: what cannot be used is `invalid`. */
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

/** Parsed keys of one thread, over all guests: public, so that it tells nothing who used one first. */
const KEPT_KEYS = 256;
const keys = new Map<string, KeyObject | null>();

/** RFC 7518 section 3.3; below, a key can be broken. */
const LEAST_BITS = 2048;
/** Above, one verification takes a millisecond. */
const MOST_BITS = 8192;
/** A longer exponent makes a verification as slow as a signature. */
const EXPONENTS = 2n ** 32n;
const P256_SIGNATURE = 64;
const ED25519_SIGNATURE = 64;

export function makeCryptoCalls(context: CallContext) {
  const { memory } = context;
  /** Pays for a hash before it is made: a guest without fuel ends here. */
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

/** As the newest; the one that was longest not used makes room. What is no key is kept too: it stays none. */
function keepKey(id: string, key: KeyObject | null): void {
  if (keys.size >= KEPT_KEYS) keys.delete(keys.keys().next().value!);
  keys.set(id, key);
}

/** A public key that is for this algorithm, or null. */
function parseKey(algorithm: number, text: string): KeyObject | null {
  try {
    const key = text.trimStart().startsWith("{") ? parseJwk(algorithm, text) : parsePem(text);
    return key !== null && isFor(algorithm, key) ? key : null;
  } catch {
    // `node:crypto` and the JSON parser say in many ways that it is no key; to a guest they are one.
    return null;
  }
}

/** Node would also take a private key or a certificate here, and make a public key of it. */
function parsePem(text: string): KeyObject | null {
  return /^\s*-----BEGIN PUBLIC KEY-----\s/.test(text) ? createPublicKey(text) : null;
}

/** Names of RFC 7518 section 3.1 and RFC 8037; RFC 9864 names the curve instead. */
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
