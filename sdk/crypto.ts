// Hashes, signatures and secure random bytes. A plugin that uses one of these imports the module `sluice:crypto/1`.

import { DIGEST, SIGNATURE, STATUS } from "./abi";
import { Bytes, toUtf8 } from "./binary";
import { digest, equal, hmac, random_bytes, verify } from "./imports";
import { check } from "./status";

/** SHA-256 of the bytes: 32 bytes. */
export function sha256(data: Bytes): Bytes {
  return hash(DIGEST.sha256, data, 32);
}

/** SHA-384 of the bytes: 48 bytes. */
export function sha384(data: Bytes): Bytes {
  return hash(DIGEST.sha384, data, 48);
}

/** SHA-512 of the bytes: 64 bytes. */
export function sha512(data: Bytes): Bytes {
  return hash(DIGEST.sha512, data, 64);
}

function hash(algorithm: i32, data: Bytes, length: i32): Bytes {
  const out = new StaticArray<u8>(length);
  digest(algorithm, changetype<usize>(data), data.length, changetype<usize>(out), length);
  return out;
}

/** HMAC with SHA-256 (RFC 2104): 32 bytes. */
export function hmacSha256(key: Bytes, data: Bytes): Bytes {
  return mac(DIGEST.sha256, key, data, 32);
}

/** HMAC with SHA-384: 48 bytes. */
export function hmacSha384(key: Bytes, data: Bytes): Bytes {
  return mac(DIGEST.sha384, key, data, 48);
}

/** HMAC with SHA-512: 64 bytes. */
export function hmacSha512(key: Bytes, data: Bytes): Bytes {
  return mac(DIGEST.sha512, key, data, 64);
}

function mac(algorithm: i32, key: Bytes, data: Bytes, length: i32): Bytes {
  const out = new StaticArray<u8>(length);
  hmac(algorithm, changetype<usize>(key), key.length, changetype<usize>(data), data.length, changetype<usize>(out), length);
  return out;
}

/**
 * Whether the bytes are equal, compared in constant time, so that a secret cannot be guessed byte by byte. The time depends
 * on the lengths: compare hashes if the length is secret.
 */
export function constantTimeEquals(a: Bytes, b: Bytes): bool {
  return equal(changetype<usize>(a), a.length, changetype<usize>(b), b.length) == 1;
}

/** Cryptographically secure random bytes, at most 4096. */
export function randomBytes(length: i32): Bytes {
  const bytes = new StaticArray<u8>(length);
  check(random_bytes(changetype<usize>(bytes), length), "cannot make random bytes", length.toString());
  return bytes;
}

/**
 * A public key for one algorithm. Create it at the top of the file or in `configure`:
 *
 *     const key = PublicKey.read("ES256", Config.string("key"));
 *     if (!key) Config.refuse("key", "a public key for ES256, as PEM or JWK");
 */
// @ts-ignore: decorator
@final
export class PublicKey {
  private constructor(
    /** `RS256`, `PS256`, `ES256` or `EdDSA` (RFC 7518, RFC 8037). */
    readonly algorithm: string,
    private id: i32,
    private text: Bytes,
  ) {}

  /**
   * Parses a key in PEM (`BEGIN PUBLIC KEY`) or as a JWK. Null if the text is invalid, the algorithm is unknown or does not
   * match the key, or an RSA key has less than 2048 or more than 8192 bits.
   */
  static read(algorithm: string, text: string): PublicKey | null {
    const id = signatureId(algorithm);
    if (id < 0) return null;
    const key = new PublicKey(algorithm, id, toUtf8(text));
    return key.call(0, 0, 0, 0) >= 0 ? key : null;
  }

  /**
   * Whether the signature is valid for the data. An ES256 signature is r and s, 32 bytes each (RFC 7518 section 3.4). Costs
   * 10,000 units of fuel, 1 % of the default limit.
   */
  verify(data: Bytes, signature: Bytes): bool {
    return this.call(changetype<usize>(data), data.length, changetype<usize>(signature), signature.length) == 1;
  }

  private call(data: usize, length: i32, signature: usize, signatureLength: i32): i32 {
    return verify(this.id, changetype<usize>(this.text), this.text.length, data, length, signature, signatureLength);
  }
}

function signatureId(algorithm: string): i32 {
  if (algorithm == "RS256") return SIGNATURE.rs256;
  if (algorithm == "PS256") return SIGNATURE.ps256;
  if (algorithm == "ES256") return SIGNATURE.es256;
  return algorithm == "EdDSA" ? SIGNATURE.eddsa : STATUS.absent;
}
