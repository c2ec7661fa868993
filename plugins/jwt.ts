// Lets those in who bring a token that was signed by someone known (JWT, RFC 7519, signed as RFC 7515 says):
//
//     jwt:
//       keys:                            # one that fits the token's `alg` and `kid` must have signed it
//         - { alg: ES256, kid: "2026", key: "${JWT_KEY}" }                    # PEM, BEGIN PUBLIC KEY
//         - { alg: EdDSA, key: { kty: OKP, crv: Ed25519, x: 11qYAYKxCr… } }   # or a JWK
//         - { alg: HS256, secret: "${JWT_SECRET}" }                           # at least 32 bytes
//       issuer: https://id.example.com   # what `iss` must be
//       audience: [api]                  # one of these must be in `aud`
//       leeway: 30                       # seconds by which clocks may differ, for `exp` and `nbf`
//       expires: true                    # false: a token without `exp` is taken too
//       cookie: session                  # where the token is, instead of `Authorization: Bearer`
//       claims: { x-user: sub, x-roles: realm.roles }   # headers for the upstream, by path in the claims; a name with dots (a URL) as it is
//       keep: true                       # false: the upstream does not see the token
//
// Algorithms: RS256, PS256, ES256, EdDSA, HS256. The key says which one it is for, never the token: a public key is not
// taken for an HMAC secret, and `none` is no algorithm. A token with `crit` is refused. What is wrong with a token is
// told as RFC 6750 says, 401. Headers of `claims` that a client sends are dropped.
//
// One signature is checked for each request, or as many as there are keys that fit, at most 4: 17 µs for RS256, 44 for
// ES256, 61 for EdDSA.

import { Bytes, Config, JsonWriter, PerInstance, PublicKey, Request, constantTimeEquals, hmacSha256, toUtf8 } from "sluice/sdk";
import { COMMON, Expected, MOST_TRIES, Token, UNKNOWN_KEY, judge, readExpected, takeToken } from "./shared/token";

export const servesMany = true;

const SHORTEST_SECRET: i32 = 32;

class Key {
  constructor(
    readonly algorithm: string,
    /** Empty: a key without a name, which may have signed any token. */
    readonly kid: string,
    /** One of both is there. */
    readonly key: PublicKey | null,
    readonly secret: Bytes | null,
  ) {}

  signed(data: Bytes, signature: Bytes): bool {
    const key = this.key;
    return key ? key.verify(data, signature) : constantTimeEquals(hmacSha256(this.secret!, data), signature);
  }
}

class Rule {
  keys: Key[] = [];

  constructor(readonly expected: Expected) {}
}

const rules = new PerInstance<Rule>();

export function configure(): void {
  Config.allow("", ["keys"].concat(COMMON));
  const count = Config.count("keys");
  if (!count) Config.refuse("keys", "a list of keys");
  const keys: Key[] = [];
  for (let i = 0; i < count; i++) keys.push(readKey(`keys.${i}`));
  const rule = new Rule(readExpected());
  rule.keys = keys;
  rules.set(rule);
}

export function onRequest(req: Request): void {
  const rule = rules.get();
  const token = takeToken(rule.expected, req);
  if (!token) return;
  if (!token.fault.length && !isSigned(rule, token)) token.fault = UNKNOWN_KEY;
  judge(rule.expected, req, token);
}

function isSigned(rule: Rule, token: Token): bool {
  const kid = token.kid;
  let tries = 0;
  for (let i = 0; i < rule.keys.length && tries < MOST_TRIES; i++) {
    const key = rule.keys[i];
    if (key.algorithm != token.algorithm || (key.kid.length && kid !== null && key.kid != kid)) continue;
    tries++;
    if (key.signed(token.data, token.signature)) return true;
  }
  return false;
}

function readKey(path: string): Key {
  Config.allow(path, ["alg", "kid", "key", "secret"]);
  const algorithm = Config.string(`${path}.alg`);
  let kid = Config.string(`${path}.kid`, "");
  if (algorithm == "HS256") {
    // The text is a secret: it must not stand in a message.
    if (Config.has(`${path}.key`)) throw new Error(`config ${path}: HS256 has a secret, not a key`);
    const secret = toUtf8(Config.string(`${path}.secret`));
    if (secret.length < SHORTEST_SECRET) throw new Error(`config ${path}.secret: expected at least ${SHORTEST_SECRET} bytes (RFC 7518 section 3.2)`);
    return new Key(algorithm, kid, null, secret);
  }
  if (Config.has(`${path}.secret`)) throw new Error(`config ${path}: ${algorithm} has a key, not a secret`);
  const members = Config.isMap(`${path}.key`) ? Config.keys(`${path}.key`) : [];
  const text = members.length ? writeJwk(`${path}.key`, members) : Config.string(`${path}.key`);
  if (!kid.length && members.includes("kid")) kid = Config.string(`${path}.key.kid`);
  const key = PublicKey.read(algorithm, text);
  if (!key) throw new Error(`config ${path}: expected alg RS256, PS256, ES256, EdDSA or HS256, and a public key for it as PEM or JWK, found ${algorithm}`);
  return new Key(algorithm, kid, key, null);
}

function writeJwk(path: string, members: string[]): string {
  const json = new JsonWriter().beginObject();
  for (let i = 0; i < members.length; i++) {
    const at = Config.join(path, members[i]);
    // `key_ops` is the one that is a list.
    if (members[i] == "key_ops") {
      const list = Config.list(at);
      json.key("key_ops").beginArray();
      for (let k = 0; k < list.length; k++) json.string(list[k]);
      json.endArray();
    } else json.key(members[i]).string(Config.string(at));
  }
  return json.endObject().toString();
}
