/**
 * Chooses one of several certificates for a client of TLS 1.2, as OpenSSL does during the handshake, when it is too late
 * to staple. Undecided where the configuration or the client allows what is not listed here: OpenSSL then chooses.
 */
import { hasNumber, type Tls12Offer } from "./client-hello.ts";

type Signature = "ecdsa" | "rsa";

/** Suites of Mozilla's intermediate profile, by OpenSSL's names. */
const SUITES: ReadonlyMap<string, { readonly id: number; readonly signature: Signature }> = new Map([
  ["ECDHE-ECDSA-AES128-GCM-SHA256", { id: 0xc02b, signature: "ecdsa" }],
  ["ECDHE-RSA-AES128-GCM-SHA256", { id: 0xc02f, signature: "rsa" }],
  ["ECDHE-ECDSA-AES256-GCM-SHA384", { id: 0xc02c, signature: "ecdsa" }],
  ["ECDHE-RSA-AES256-GCM-SHA384", { id: 0xc030, signature: "rsa" }],
  ["ECDHE-ECDSA-CHACHA20-POLY1305", { id: 0xcca9, signature: "ecdsa" }],
  ["ECDHE-RSA-CHACHA20-POLY1305", { id: 0xcca8, signature: "rsa" }],
]);
/** Key exchange by ECDHE: secp256r1, secp384r1, x25519. */
const GROUPS = [23, 24, 29];
/** By the first signature scheme that the key has in TLS 1.3; in TLS 1.2 a curve may be used with any hash. */
const ECDSA = [0x0403, 0x0503, 0x0603];
const RSA = [0x0401, 0x0501, 0x0601, 0x0804, 0x0805, 0x0806];
type Key = { readonly signature: Signature; readonly schemes: readonly number[]; readonly curve: number };
const KEYS: ReadonlyMap<number, Key> = new Map([
  [0x0403, { signature: "ecdsa", schemes: ECDSA, curve: 23 }],
  [0x0503, { signature: "ecdsa", schemes: ECDSA, curve: 24 }],
  [0x0603, { signature: "ecdsa", schemes: ECDSA, curve: 25 }],
  [0x0804, { signature: "rsa", schemes: RSA, curve: 0 }],
]);

/** Of the certificates, by their `schemes`, returns the index of the one to use; -1: undecided. */
export function chooseForTls12(
  ciphers: string,
  certificates: readonly (readonly number[])[],
  { suites, schemes, groups }: Tls12Offer,
): number {
  if (!GROUPS.some((group) => hasNumber(groups, 2, group))) return -1;
  const isUsable = ([first = 0]: readonly number[], signature: Signature): boolean => {
    const key = KEYS.get(first);
    if (key === undefined || key.signature !== signature) return false;
    if (key.curve !== 0 && !hasNumber(groups, 2, key.curve)) return false;
    return key.schemes.some((scheme) => hasNumber(schemes, 2, scheme));
  };
  for (const name of ciphers.split(":")) {
    if (name.startsWith("TLS_")) continue;
    const suite = SUITES.get(name);
    if (suite === undefined) return -1;
    if (!hasNumber(suites, 0, suite.id)) continue;
    const index = certificates.findIndex((one) => isUsable(one, suite.signature));
    if (index >= 0) return index;
  }
  return -1;
}
