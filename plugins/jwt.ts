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
//       claims: { x-user: sub, x-roles: realm.roles }   # headers for the upstream, by path in the claims
//       keep: true                       # false: the upstream does not see the token
//
// Algorithms: RS256, PS256, ES256, EdDSA, HS256. The key says which one it is for, never the token: a public key is not
// taken for an HMAC secret, and `none` is no algorithm. A token with `crit` is refused. What is wrong with a token is
// told as RFC 6750 says, 401. Headers of `claims` that a client sends are dropped.
//
// One signature is checked for each request, or as many as there are keys that fit, at most 4: 17 µs for RS256, 44 for
// ES256, 61 for EdDSA.

import { Base64Url, Bytes, Config, Cookies, Headers, Json, JsonValue, JsonWriter, PerInstance, PublicKey, Request, constantTimeEquals, fromBytes, hmacSha256, now, toBytes, toUtf8 } from "sluice/sdk";

export const servesMany = true;

const SHORTEST_SECRET: i32 = 32;
const MOST_TRIES: i32 = 4;

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
  issuer: string = "";
  audience: string[] = [];
  leeway: f64 = 0;
  expires: bool = true;
  cookie: string = "";
  headers: string[] = [];
  claims: string[] = [];
  keep: bool = true;
}

const rules = new PerInstance<Rule>();

export function configure(): void {
  Config.allow("", ["keys", "issuer", "audience", "leeway", "expires", "cookie", "claims", "keep"]);
  const rule = new Rule();
  const count = Config.count("keys");
  if (!count) Config.refuse("keys", "a list of keys");
  for (let i = 0; i < count; i++) rule.keys.push(readKey(`keys.${i}`));
  rule.issuer = Config.string("issuer", "");
  rule.audience = Config.list("audience");
  if (Config.has("audience") && !rule.audience.length) Config.refuse("audience", "at least one");
  rule.leeway = Config.float("leeway", 30);
  if (rule.leeway < 0 || rule.leeway > 300) Config.refuse("leeway", "0 to 300 seconds");
  rule.expires = !Config.has("expires") || Config.bool("expires");
  rule.cookie = Config.string("cookie", "");
  rule.keep = !Config.has("keep") || Config.bool("keep");
  const headers = Config.keys("claims");
  for (let i = 0; i < headers.length; i++) {
    if (!Headers.canSet(headers[i]) || headers[i].toLowerCase() == "host") Config.refuse("claims", `headers that may be set, not "${headers[i]}"`);
    rule.headers.push(headers[i]);
    rule.claims.push(Config.string(Config.join("claims", headers[i])));
  }
  rules.set(rule);
}

export function onRequest(req: Request): void {
  const rule = rules.get();
  for (let i = 0; i < rule.headers.length; i++) req.headers.remove(rule.headers[i]);
  const token = findToken(rule, req);
  if (!rule.keep) {
    if (rule.cookie.length) Cookies.remove(req.headers, rule.cookie);
    else req.headers.remove("authorization");
  }
  if (token === null) {
    req.respond(401, "a token is needed\n").headers.set("www-authenticate", "Bearer");
    return;
  }
  const verdict = judge(rule, token);
  const claims = verdict.claims;
  const fault = claims ? forward(rule, req, claims) : verdict.fault;
  if (!fault.length) return;
  const answer = req.respond(401, `the token was refused: ${fault}\n`);
  answer.headers.set("www-authenticate", `Bearer error="invalid_token", error_description="${fault}"`);
}

class Verdict {
  constructor(
    /** What is wrong with the token. */
    readonly fault: string,
    /** What it says, when nothing is. */
    readonly claims: JsonValue | null = null,
  ) {}
}

function findToken(rule: Rule, req: Request): string | null {
  if (rule.cookie.length) return Cookies.get(req.headers, rule.cookie);
  const field = req.headers.get("authorization");
  // Two fields may be read as either by those behind.
  if (field === null || req.headers.nth("authorization", 1) !== null) return null;
  return field.substring(0, 7).toLowerCase() == "bearer " ? field.substring(7).trim() : null;
}

function judge(rule: Rule, token: string): Verdict {
  const first = token.indexOf(".");
  const last = token.lastIndexOf(".");
  if (first < 0 || token.indexOf(".", first + 1) != last) return new Verdict("it has not three parts");
  const header = readPart(token.substring(0, first));
  const signature = Base64Url.decode(token.substring(last + 1));
  if (!header || !signature) return new Verdict("it is malformed");
  // It would say what must be understood, and nothing of that is.
  if (header.get("crit")) return new Verdict("it has critical extensions");
  const signed = isSigned(rule, header, toBytes(token.substring(0, last)), signature);
  if (!signed) return new Verdict("its signature is not by a key that is known");
  const body = readPart(token.substring(first + 1, last));
  if (!body) return new Verdict("it is malformed");
  const fault = judgeClaims(rule, body);
  return fault.length ? new Verdict(fault) : new Verdict("", body);
}

function readPart(text: string): JsonValue | null {
  const bytes = Base64Url.decode(text);
  const value = bytes ? Json.parse(bytes) : null;
  return value && value.isObject ? value : null;
}

function isSigned(rule: Rule, header: JsonValue, data: Bytes, signature: Bytes): bool {
  const algorithm = textOf(header.get("alg"));
  const kid = textOf(header.get("kid"));
  let tries = 0;
  for (let i = 0; i < rule.keys.length && tries < MOST_TRIES; i++) {
    const key = rule.keys[i];
    if (key.algorithm != algorithm || (key.kid.length && kid !== null && key.kid != kid)) continue;
    tries++;
    if (key.signed(data, signature)) return true;
  }
  return false;
}

/** What is wrong with the claims; empty when nothing is. */
function judgeClaims(rule: Rule, body: JsonValue): string {
  const time = now() / 1000;
  const exp = body.get("exp");
  if (!exp && rule.expires) return "it does not expire";
  // A time that is no number compares as false, and so is refused.
  if (exp && !(time < exp.asNumber() + rule.leeway)) return "it has expired";
  const nbf = body.get("nbf");
  if (nbf && !(time >= nbf.asNumber() - rule.leeway)) return "it is not valid yet";
  if (rule.issuer.length && textOf(body.get("iss")) != rule.issuer) return "it is by another issuer";
  return rule.audience.length && !isFor(rule, body.get("aud")) ? "it is for another audience" : "";
}

/** `aud` is a text, or a list of them. */
function isFor(rule: Rule, audience: JsonValue | null): bool {
  if (!audience) return false;
  if (audience.isString) return rule.audience.includes(audience.asString()!);
  for (let i = 0; i < audience.count; i++) {
    const one = textOf(audience.at(i));
    if (one !== null && rule.audience.includes(one)) return true;
  }
  return false;
}

function textOf(value: JsonValue | null): string | null {
  return value ? value.asString() : null;
}

/** Sets the headers that the configuration asks for; what is wrong with a claim, or nothing. */
function forward(rule: Rule, req: Request, claims: JsonValue): string {
  for (let i = 0; i < rule.headers.length; i++) {
    const value = claims.find(rule.claims[i]);
    if (!value || value.isNull) continue;
    const text = spell(value);
    for (let k = 0; k < text.length; k++) {
      const unit = text.charCodeAt(k);
      if (unit < 0x20 || unit == 0x7f) return "a claim of it cannot stand in a header";
    }
    req.headers.set(rule.headers[i], text.trim());
  }
  return "";
}

/** A text in UTF-8, a list with commas between, anything else as JSON writes it. */
function spell(value: JsonValue): string {
  if (value.isString) return fromBytes(toUtf8(value.asString()!));
  if (!value.isArray) return fromBytes(value.raw());
  const parts: string[] = [];
  for (let i = 0; i < value.count; i++) parts.push(spell(value.at(i)!));
  return parts.join(",");
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
