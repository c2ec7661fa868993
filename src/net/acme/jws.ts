/** Signs ACME requests (RFC 8555 section 6.2): flattened JWS with ES256. */
import { createHash, createHmac, createPublicKey, type KeyObject, sign } from "node:crypto";

export type SignOptions = {
  /** A P-256 key. */
  readonly key: KeyObject;
  readonly url: string;
  readonly nonce: string;
  /** URL of the account; null: the request has the public key instead. */
  readonly account: string | null;
};

/** Returns the body of the request; `payload` null: a POST-as-GET. */
export function signRequest(payload: unknown, { key, url, nonce, account }: SignOptions): string {
  const identity = account === null ? { jwk: publicJwk(key) } : { kid: account };
  const header = encode(JSON.stringify({ alg: "ES256", ...identity, nonce, url }));
  const body = payload === null ? "" : encode(JSON.stringify(payload));
  const signature = sign("sha256", Buffer.from(`${header}.${body}`), { key, dsaEncoding: "ieee-p1363" });
  return JSON.stringify({ protected: header, payload: body, signature: signature.toString("base64url") });
}

/** The key with which a customer of a CA binds an ACME account to the account there. `macKey`: in base64url. */
export type ExternalAccount = { readonly keyId: string; readonly macKey: string };

/** The binding of an account's key to an external account (RFC 8555 section 7.3.4). `url`: that of new accounts. */
export function bindExternal(
  { keyId, macKey }: ExternalAccount,
  key: KeyObject,
  url: string,
): Readonly<Record<"protected" | "payload" | "signature", string>> {
  const header = encode(JSON.stringify({ alg: "HS256", kid: keyId, url }));
  const payload = encode(JSON.stringify(publicJwk(key)));
  const mac = createHmac("sha256", Buffer.from(macKey, "base64url")).update(`${header}.${payload}`);
  return { protected: header, payload, signature: mac.digest("base64url") };
}

/** The content of a challenge's response (RFC 8555 section 8.1). */
export function authorizeKey(token: string, key: KeyObject): string {
  return `${token}.${thumbprint(key)}`;
}

/** RFC 7638. */
export function thumbprint(key: KeyObject): string {
  return createHash("sha256")
    .update(JSON.stringify(publicJwk(key)))
    .digest("base64url");
}

/** The members in the order of RFC 7638. */
function publicJwk(key: KeyObject): Record<string, string> {
  const { crv, kty, x, y } = createPublicKey(key).export({ format: "jwk" });
  return { crv: crv!, kty: kty!, x: x!, y: y! };
}

function encode(text: string): string {
  return Buffer.from(text).toString("base64url");
}
