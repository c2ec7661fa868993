// What `jwt` and `jwt-jwks` have in common: where a token is, what must be right about it but its signature, and what
// its claims become.

import { Base64Url, Bytes, Config, Cookies, Headers, Json, JsonValue, Request, fromBytes, now, toBytes, toUtf8 } from "sluice/sdk";

/** Keys of the configuration that `readExpected` reads. */
export const COMMON: string[] = ["issuer", "audience", "leeway", "expires", "cookie", "claims", "keep"];

/** Signatures that are checked for one token at most. */
export const MOST_TRIES: i32 = 4;

/** Of a claim that becomes a header. */
const LONGEST_CLAIM: i32 = 16384;

export const UNKNOWN_KEY: string = "its signature is not by a key that is known";

/** What is expected of a token, whoever signs it. */
export class Expected {
  issuer: string = "";
  audience: string[] = [];
  leeway: f64 = 0;
  expires: bool = true;
  cookie: string = "";
  headers: string[] = [];
  claims: string[] = [];
  keep: bool = true;
}

export function readExpected(): Expected {
  const rule = new Expected();
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
  return rule;
}

/** A token in its parts; its signature is not checked yet. */
export class Token {
  /** What is wrong with it; empty while nothing is known to be. */
  fault: string = "";
  algorithm: string | null = null;
  kid: string | null = null;
  /** What was signed, and the signature. */
  data: Bytes = new StaticArray<u8>(0);
  signature: Bytes = new StaticArray<u8>(0);
  body: string = "";
}

function readToken(text: string): Token {
  const token = new Token();
  const first = text.indexOf(".");
  const last = text.lastIndexOf(".");
  if (first < 0 || text.indexOf(".", first + 1) != last) return refuse(token, "it has not three parts");
  const header = readPart(text.substring(0, first));
  const signature = Base64Url.decode(text.substring(last + 1));
  if (!header || !signature) return refuse(token, "it is malformed");
  // It would say what must be understood, and nothing of that is.
  if (header.get("crit")) return refuse(token, "it has critical extensions");
  token.algorithm = textOf(header.get("alg"));
  token.kid = textOf(header.get("kid"));
  token.data = toBytes(text.substring(0, last));
  token.signature = signature;
  token.body = text.substring(first + 1, last);
  return token;
}

function refuse(token: Token, fault: string): Token {
  token.fault = fault;
  return token;
}

/** The request's token, taken off where it is to be; null: there is none, and the request is answered. */
export function takeToken(rule: Expected, req: Request): Token | null {
  for (let i = 0; i < rule.headers.length; i++) req.headers.own(rule.headers[i]);
  const text = findToken(rule, req);
  if (!rule.keep) {
    if (rule.cookie.length) Cookies.remove(req.headers, rule.cookie);
    else req.headers.remove("authorization");
  }
  if (text !== null) return readToken(text);
  req.respond(401, "a token is needed\n").headers.set("www-authenticate", "Bearer");
  return null;
}

/** Lets a token in whose signature is right (or has a fault), if what it says is. */
export function judge(rule: Expected, req: Request, token: Token): void {
  let fault = token.fault;
  if (!fault.length) {
    const body = readPart(token.body);
    fault = body ? judgeClaims(rule, body) : "it is malformed";
    if (body && !fault.length) fault = forward(rule, req, body);
  }
  if (!fault.length) return;
  const answer = req.respond(401, `the token was refused: ${fault}\n`);
  answer.headers.set("www-authenticate", `Bearer error="invalid_token", error_description="${fault}"`);
}

function findToken(rule: Expected, req: Request): string | null {
  if (rule.cookie.length) return Cookies.get(req.headers, rule.cookie);
  const field = req.headers.get("authorization");
  // Two fields may be read as either by those behind.
  if (field === null || req.headers.nth("authorization", 1) !== null) return null;
  return field.substring(0, 7).toLowerCase() == "bearer " ? field.substring(7).trim() : null;
}

function readPart(text: string): JsonValue | null {
  const bytes = Base64Url.decode(text);
  const value = bytes ? Json.parse(bytes) : null;
  return value && value.isObject ? value : null;
}

/** What is wrong with the claims; empty when nothing is. */
function judgeClaims(rule: Expected, body: JsonValue): string {
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
function isFor(rule: Expected, audience: JsonValue | null): bool {
  if (!audience) return false;
  if (audience.isString) return rule.audience.includes(audience.asString()!);
  for (let i = 0; i < audience.count; i++) {
    const one = textOf(audience.at(i));
    if (one !== null && rule.audience.includes(one)) return true;
  }
  return false;
}

export function textOf(value: JsonValue | null): string | null {
  return value ? value.asString() : null;
}

/** Sets the headers that the configuration asks for; what is wrong with a claim, or nothing. */
function forward(rule: Expected, req: Request, claims: JsonValue): string {
  for (let i = 0; i < rule.headers.length; i++) {
    const value = claims.find(rule.claims[i]);
    if (!value || value.isNull) continue;
    const text = spell(value);
    if (text.length > LONGEST_CLAIM) return "a claim of it is too long for a header";
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
