// Lets those in who bring a key, and tells the upstream who they are:
//
//     api-key:
//       keys:                      # name: key, or the SHA-256 of the key as `sha256:` and 64 hexadecimal digits
//         alice: "${ALICE_KEY}"
//         build: sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
//       header: x-api-key          # where the key is; or
//       query: key                 # a parameter of the query
//       forward: x-consumer        # the header that tells the upstream the name; what a client sends there is dropped
//       keep: false                # true: the upstream sees the key too
//
// Without a key, with two or with an unknown one the answer is 401. A key of less than 16 characters is refused: it can
// be guessed. How long it takes does not depend on how much of a key was right.

import { Bytes, Config, Headers, Hex, PerInstance, Query, Request, constantTimeEquals, sha256, toBytes, toUtf8 } from "sluice/sdk";

export const servesMany = true;

const SHORTEST: i32 = 16;

class Rule {
  header: string = "";
  query: string = "";
  forward: string = "";
  keep: bool = false;
  names: string[] = [];
  hashes: Bytes[] = [];
}

const rules = new PerInstance<Rule>();

export function configure(): void {
  Config.allow("", ["keys", "header", "query", "forward", "keep"]);
  const rule = new Rule();
  if (Config.has("query")) {
    if (Config.has("header")) Config.refuse("query", "it alone, without header");
    rule.query = Config.string("query");
  } else rule.header = readHeader("header", "x-api-key");
  rule.forward = readHeader("forward", "x-consumer");
  rule.keep = Config.bool("keep");
  const names = Config.keys("keys");
  if (!names.length) Config.refuse("keys", "a map of names to keys");
  for (let i = 0; i < names.length; i++) {
    if (!names[i].length || !Headers.isValue(names[i])) Config.refuse("keys", `names of printable ASCII, not "${names[i]}"`);
    rule.names.push(names[i]);
    rule.hashes.push(readKey(Config.join("keys", names[i])));
  }
  rules.set(rule);
}

export function onRequest(req: Request): void {
  const rule = rules.get();
  req.headers.own(rule.forward);
  const key = rule.query.length ? takeFromQuery(req, rule) : takeFromHeader(req, rule);
  const found = key === null ? -1 : find(rule, sha256(toBytes(key)));
  if (found >= 0) req.headers.set(rule.forward, rule.names[found]);
  else req.respond(401, "an API key is needed\n").headers.set("www-authenticate", "ApiKey");
}

/** Which key this is, or -1. All are looked at, whichever it is. */
function find(rule: Rule, hash: Bytes): i32 {
  let found = -1;
  for (let i = 0; i < rule.hashes.length; i++) {
    if (constantTimeEquals(hash, rule.hashes[i])) found = i;
  }
  return found;
}

/** Two keys are none, and an upstream that is to see the key sees the one that was checked, in no other spelling. */
function takeFromHeader(req: Request, rule: Rule): string | null {
  const key = req.headers.get(rule.header);
  if (req.headers.nth(rule.header, 1) !== null) return null;
  req.headers.own(rule.header);
  if (rule.keep && key !== null) req.headers.set(rule.header, key);
  return key;
}

function takeFromQuery(req: Request, rule: Rule): string | null {
  const query = new Query(req.query);
  const key = query.get(rule.query);
  if (key === null) return null;
  const count = query.count;
  query.remove(rule.query);
  if (!rule.keep) req.query = query.toString();
  // Keys are ASCII; what is above is none, and has no byte.
  return count - query.count == 1 && Headers.isValue(key) ? key : null;
}

function readKey(path: string): Bytes {
  const text = Config.string(path);
  if (text.startsWith("sha256:")) {
    const hash = Hex.decode(text.substring(7));
    if (!hash || hash.length != 32) throw new Error(`config ${path}: expected 64 hexadecimal digits behind sha256:`);
    return hash;
  }
  // The text is a secret: it must not stand in a message.
  if (text.length < SHORTEST || !Headers.isValue(text)) throw new Error(`config ${path}: expected a key of at least ${SHORTEST} printable ASCII characters`);
  return sha256(toUtf8(text));
}

function readHeader(path: string, otherwise: string): string {
  const name = Config.string(path, otherwise);
  if (!Headers.canSet(name) || name.toLowerCase() == "host") Config.refuse(path, "a header that may be set");
  return name;
}
