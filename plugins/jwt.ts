// Authenticates requests by a signed token (JWT, RFC 7519; JWS, RFC 7515):
//
//     jwt:
//       keys:                            # keys that are accepted, selected by `alg` and `kid` of the token
//         - { alg: ES256, kid: "2026", key: "${JWT_KEY}" }                    # PEM, BEGIN PUBLIC KEY
//         - { alg: EdDSA, key: { kty: OKP, crv: Ed25519, x: 11qYAYKxCr… } }   # or a JWK
//         - { alg: HS256, secret: "${JWT_SECRET}" }                           # at least 32 bytes
//       issuer: https://id.example.com   # required value of `iss`
//       audience: [api]                  # `aud` must contain one of these
//       leeway: 30                       # tolerated clock difference in seconds, for `exp` and `nbf`
//       expires: true                    # false: accept tokens without `exp`
//       cookie: session                  # cookie with the token, instead of `Authorization: Bearer`
//       claims: { x-user: sub, x-roles: realm.roles }   # headers to set for the endpoint, with the path of a claim
//       keep: true                       # false: the token is not forwarded to the endpoint
//
// Algorithms: RS256, PS256, ES256, EdDSA, HS256. The key determines the algorithm, not the token: a public key is never
// used as an HMAC secret, and `none` is not accepted. Tokens with `crit` are rejected. An invalid token gets 401 with
// `WWW-Authenticate: Bearer error="invalid_token"` (RFC 6750). A client's headers with the names in `claims` are dropped.
//
// At most 4 signatures are verified per request, one for each key that matches. Cost of one: 17 µs for RS256, 44 µs for
// ES256, 61 µs for EdDSA.

import { Bytes, Config, JsonWriter, PerInstance, PublicKey, Request, constantTimeEquals, hmacSha256, toUtf8 } from "sluice/sdk";
import { COMMON, Expected, MAX_VERIFICATIONS, Token, INVALID_SIGNATURE, evaluate, readExpected, takeToken } from "./shared/token";

export const servesMany = true;

/** Minimum length in bytes (RFC 7518 section 3.2). */
const MIN_SECRET: i32 = 32;

class Key {
  constructor(
    readonly algorithm: string,
    /** Key id; empty: the key is used for tokens with any `kid`. */
    readonly kid: string,
    /** Either a public key or a secret. */
    readonly key: PublicKey | null,
    readonly secret: Bytes | null,
  ) {}

  verify(data: Bytes, signature: Bytes): bool {
    const key = this.key;
    return key ? key.verify(data, signature) : constantTimeEquals(hmacSha256(this.secret!, data), signature);
  }
}

class Settings {
  keys: Key[] = [];

  constructor(readonly expected: Expected) {}
}

const current = new PerInstance<Settings>();

export function configure(): void {
  Config.allow("", ["keys"].concat(COMMON));
  const count = Config.count("keys");
  if (!count) Config.refuse("keys", "at least one key");
  const keys: Key[] = [];
  for (let i = 0; i < count; i++) keys.push(readKey(`keys.${i}`));
  const settings = new Settings(readExpected());
  settings.keys = keys;
  current.set(settings);
}

export function onRequest(req: Request): void {
  const settings = current.get();
  const token = takeToken(settings.expected, req);
  if (!token) return;
  if (!token.error.length && !isSigned(settings, token)) token.error = INVALID_SIGNATURE;
  evaluate(settings.expected, req, token);
}

function isSigned(settings: Settings, token: Token): bool {
  const kid = token.kid;
  let verifications = 0;
  for (let i = 0; i < settings.keys.length && verifications < MAX_VERIFICATIONS; i++) {
    const key = settings.keys[i];
    if (key.algorithm != token.algorithm || (key.kid.length && kid !== null && key.kid != kid)) continue;
    verifications++;
    if (key.verify(token.data, token.signature)) return true;
  }
  return false;
}

function readKey(path: string): Key {
  Config.allow(path, ["alg", "kid", "key", "secret"]);
  const algorithm = Config.string(`${path}.alg`);
  let kid = Config.string(`${path}.kid`, "");
  if (algorithm == "HS256") {
    // Messages must not contain the secret.
    if (Config.has(`${path}.key`)) throw new Error(`config ${path}: HS256 requires secret, not key`);
    const secret = toUtf8(Config.string(`${path}.secret`));
    if (secret.length < MIN_SECRET) throw new Error(`config ${path}.secret: expected at least ${MIN_SECRET} bytes (RFC 7518 section 3.2)`);
    return new Key(algorithm, kid, null, secret);
  }
  if (Config.has(`${path}.secret`)) throw new Error(`config ${path}: ${algorithm} requires key, not secret`);
  const members = Config.isMap(`${path}.key`) ? Config.keys(`${path}.key`) : [];
  const text = members.length ? writeJwk(`${path}.key`, members) : Config.string(`${path}.key`);
  if (!kid.length && members.includes("kid")) kid = Config.string(`${path}.key.kid`);
  const key = PublicKey.read(algorithm, text);
  if (!key) throw new Error(`config ${path}: expected alg RS256, PS256, ES256, EdDSA or HS256, and a matching public key as PEM or JWK, found alg ${algorithm}`);
  return new Key(algorithm, kid, key, null);
}

function writeJwk(path: string, members: string[]): string {
  const json = new JsonWriter().beginObject();
  for (let i = 0; i < members.length; i++) {
    const at = Config.join(path, members[i]);
    // `key_ops` is the only member that is a list.
    if (members[i] == "key_ops") {
      const list = Config.list(at);
      json.key("key_ops").beginArray();
      for (let k = 0; k < list.length; k++) json.string(list[k]);
      json.endArray();
    } else json.key(members[i]).string(Config.string(at));
  }
  return json.endObject().toString();
}
