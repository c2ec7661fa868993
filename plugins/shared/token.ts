// Common parts of `jwt` and `jwt-jwks`: finds and parses the token, checks its claims, and sets headers from them. The
// plugins verify the signature.

import { Base64Url, Bytes, Config, Cookies, Headers, Json, JsonValue, Request, fromBytes, now, toBytes, toUtf8 } from "sluice/sdk";

/** Keys of the configuration that `readExpected` reads. */
export const COMMON: string[] = ["issuer", "audience", "leeway", "expires", "cookie", "claims", "keep"];

/** Maximum number of signatures verified for one token. */
export const MAX_VERIFICATIONS: i32 = 4;

/** Maximum length of a header set from a claim. */
const MAX_CLAIM: i32 = 16384;

export const INVALID_SIGNATURE: string = "its signature is not valid for any known key";

/** Requirements on the claims, and how they are forwarded. */
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
  const expected = new Expected();
  expected.issuer = Config.string("issuer", "");
  expected.audience = Config.list("audience");
  if (Config.has("audience") && !expected.audience.length) Config.refuse("audience", "at least one audience");
  expected.leeway = Config.float("leeway", 30);
  if (expected.leeway < 0 || expected.leeway > 300) Config.refuse("leeway", "0 to 300 seconds");
  expected.expires = !Config.has("expires") || Config.bool("expires");
  expected.cookie = Config.string("cookie", "");
  expected.keep = !Config.has("keep") || Config.bool("keep");
  const headers = Config.keys("claims");
  for (let i = 0; i < headers.length; i++) {
    if (!Headers.canSet(headers[i]) || headers[i].toLowerCase() == "host") Config.refuse("claims", `headers that may be set, not "${headers[i]}"`);
    expected.headers.push(headers[i]);
    expected.claims.push(Config.string(Config.join("claims", headers[i])));
  }
  return expected;
}

/** A parsed token; its signature is not yet verified. */
export class Token {
  /** Why it is invalid; empty if no check has failed so far. */
  error: string = "";
  algorithm: string | null = null;
  kid: string | null = null;
  /** Signed data (header and payload as received), and the signature. */
  data: Bytes = new StaticArray<u8>(0);
  signature: Bytes = new StaticArray<u8>(0);
  body: string = "";
}

function readToken(text: string): Token {
  const token = new Token();
  const first = text.indexOf(".");
  const last = text.lastIndexOf(".");
  if (first < 0 || text.indexOf(".", first + 1) != last) return invalid(token, "it does not have three parts");
  const header = readPart(text.substring(0, first));
  const signature = Base64Url.decode(text.substring(last + 1));
  if (!header || !signature) return invalid(token, "it is malformed");
  // RFC 7515 section 4.1.11: extensions that are not understood make the token invalid; none is supported.
  if (header.get("crit")) return invalid(token, "it has critical extensions");
  token.algorithm = textOf(header.get("alg"));
  token.kid = textOf(header.get("kid"));
  token.data = toBytes(text.substring(0, last));
  token.signature = signature;
  token.body = text.substring(first + 1, last);
  return token;
}

function invalid(token: Token, error: string): Token {
  token.error = error;
  return token;
}

/** The request's token, removed from the request unless `keep`. Without one, responds with 401 and returns null. */
export function takeToken(expected: Expected, req: Request): Token | null {
  for (let i = 0; i < expected.headers.length; i++) req.headers.own(expected.headers[i]);
  const text = findToken(expected, req);
  if (!expected.keep) {
    if (expected.cookie.length) Cookies.remove(req.headers, expected.cookie);
    else req.headers.remove("authorization");
  }
  if (text !== null) return readToken(text);
  req.respond(401, "token required\n").headers.set("www-authenticate", "Bearer");
  return null;
}

/** Checks the claims of a token whose signature is valid and sets the headers; otherwise responds with 401. */
export function evaluate(expected: Expected, req: Request, token: Token): void {
  let error = token.error;
  if (!error.length) {
    const body = readPart(token.body);
    error = body ? checkClaims(expected, body) : "it is malformed";
    if (body && !error.length) error = forward(expected, req, body);
  }
  if (!error.length) return;
  const response = req.respond(401, `invalid token: ${error}\n`);
  response.headers.set("www-authenticate", `Bearer error="invalid_token", error_description="${error}"`);
}

function findToken(expected: Expected, req: Request): string | null {
  if (expected.cookie.length) return Cookies.get(req.headers, expected.cookie);
  const field = req.headers.get("authorization");
  // With two headers the endpoint might use the other one.
  if (field === null || req.headers.nth("authorization", 1) !== null) return null;
  return field.substring(0, 7).toLowerCase() == "bearer " ? field.substring(7).trim() : null;
}

function readPart(text: string): JsonValue | null {
  const bytes = Base64Url.decode(text);
  const value = bytes ? Json.parse(bytes) : null;
  return value && value.isObject ? value : null;
}

/** Why the claims are invalid; empty if they are valid. */
function checkClaims(expected: Expected, body: JsonValue): string {
  const time = now() / 1000;
  const exp = body.get("exp");
  if (!exp && expected.expires) return "it has no expiry";
  // asNumber() is NaN for anything but a number: the comparison is false, and the token is rejected.
  if (exp && !(time < exp.asNumber() + expected.leeway)) return "it has expired";
  const nbf = body.get("nbf");
  if (nbf && !(time >= nbf.asNumber() - expected.leeway)) return "it is not valid yet";
  if (expected.issuer.length && textOf(body.get("iss")) != expected.issuer) return "it is from another issuer";
  return expected.audience.length && !isFor(expected, body.get("aud")) ? "it is for another audience" : "";
}

/** `aud` is a string or a list of strings (RFC 7519 section 4.1.3). */
function isFor(expected: Expected, audience: JsonValue | null): bool {
  if (!audience) return false;
  if (audience.isString) return expected.audience.includes(audience.asString()!);
  for (let i = 0; i < audience.count; i++) {
    const name = textOf(audience.at(i));
    if (name !== null && expected.audience.includes(name)) return true;
  }
  return false;
}

export function textOf(value: JsonValue | null): string | null {
  return value ? value.asString() : null;
}

/** Sets the configured headers; returns why a claim cannot be forwarded, or an empty string. */
function forward(expected: Expected, req: Request, claims: JsonValue): string {
  for (let i = 0; i < expected.headers.length; i++) {
    const value = claims.find(expected.claims[i]);
    if (!value || value.isNull) continue;
    const text = format(value);
    if (text.length > MAX_CLAIM) return "one of its claims is too long for a header";
    for (let k = 0; k < text.length; k++) {
      const unit = text.charCodeAt(k);
      if (unit < 0x20 || unit == 0x7f) return "one of its claims contains control characters";
    }
    req.headers.set(expected.headers[i], text.trim());
  }
  return "";
}

/** A string in UTF-8, the entries of a list separated by commas, or any other value as JSON. */
function format(value: JsonValue): string {
  if (value.isString) return fromBytes(toUtf8(value.asString()!));
  if (!value.isArray) return fromBytes(value.raw());
  const parts: string[] = [];
  for (let i = 0; i < value.count; i++) parts.push(format(value.at(i)!));
  return parts.join(",");
}
