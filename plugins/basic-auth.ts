// Asks for a name and a password (RFC 7617), and tells the upstream the name:
//
//     basic-auth:
//       realm: Staging             # what the browser shows
//       users:                     # name: hash of the password
//         alice: sha256:5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8
//         bob: hmac-sha256:7361:9a1c…     # with a salt: the salt in hexadecimal, then HMAC-SHA-256 of the password with it
//       forward: x-user            # the header that tells the upstream the name; what a client sends there is dropped
//       keep: false                # true: the upstream sees the password too
//
// What this is and is not: these hashes are fast, which is what a proxy can pay for on every request, and what makes
// them weak. Who reads the configuration can try thousands of millions of passwords a second against them. Give out
// long random passwords, and the hashes tell nobody anything; let people choose, and use a login with a slow hash
// (bcrypt, argon2) behind a session instead. Without TLS in front, everyone on the way reads the password.

import { Base64, Bytes, Config, Headers, Hex, PerInstance, Request, constantTimeEquals, hmacSha256, sha256, toUtf8 } from "sluice/sdk";

export const servesMany = true;

class User {
  constructor(
    /** Hashed, so that all are of one length. */
    readonly name: Bytes,
    readonly shown: string,
    /** Null: SHA-256 without one. */
    readonly salt: Bytes | null,
    readonly hash: Bytes,
  ) {}
}

class Rule {
  challenge: string = "";
  forward: string = "";
  keep: bool = false;
  users: User[] = [];
}

const rules = new PerInstance<Rule>();

export function configure(): void {
  Config.allow("", ["realm", "users", "forward", "keep"]);
  const rule = new Rule();
  const realm = Config.string("realm", "sluice");
  if (!Headers.isValue(realm) || realm.includes('"') || realm.includes("\\")) Config.refuse("realm", "printable ASCII without quotation marks");
  rule.challenge = `Basic realm="${realm}", charset="UTF-8"`;
  rule.forward = Config.string("forward", "x-user");
  if (!Headers.canSet(rule.forward) || rule.forward.toLowerCase() == "host") Config.refuse("forward", "a header that may be set");
  rule.keep = Config.bool("keep");
  const names = Config.keys("users");
  if (!names.length) Config.refuse("users", "a map of names to hashes of passwords");
  for (let i = 0; i < names.length; i++) {
    if (!names[i].length || names[i].includes(":") || !Headers.isValue(names[i])) Config.refuse("users", `names of printable ASCII without a colon, not "${names[i]}"`);
    rule.users.push(readUser(names[i], Config.join("users", names[i])));
  }
  rules.set(rule);
}

export function onRequest(req: Request): void {
  const rule = rules.get();
  req.headers.own(rule.forward);
  const given = readCredentials(req);
  if (!rule.keep) req.headers.remove("authorization");
  const user = given ? find(rule, given) : null;
  if (user) req.headers.set(rule.forward, user.shown);
  else req.respond(401, "a name and a password are needed\n").headers.set("www-authenticate", rule.challenge);
}

/** `name:password` as bytes; null when there is none, or when there are two. */
function readCredentials(req: Request): Bytes | null {
  const field = req.headers.get("authorization");
  if (field === null || req.headers.nth("authorization", 1) !== null) return null;
  if (field.substring(0, 6).toLowerCase() != "basic ") return null;
  return Base64.decode(field.substring(6).trim());
}

/**
 * Whose name and password these are. Every name is looked at, and a password is hashed in both ways and compared also
 * when there is no such name: the time does not tell which names there are.
 */
function find(rule: Rule, given: Bytes): User | null {
  let colon = 0;
  while (colon < given.length && given[colon] != 0x3a) colon++;
  if (colon == given.length) return null;
  const name = sha256(given.slice<Bytes>(0, colon));
  const password = given.slice<Bytes>(colon + 1);
  let known = false;
  let user = rule.users[0];
  for (let i = 0; i < rule.users.length; i++) {
    if (!constantTimeEquals(name, rule.users[i].name)) continue;
    user = rule.users[i];
    known = true;
  }
  const salt = user.salt;
  const plain = sha256(password);
  const salted = hmacSha256(salt ? salt : name, password);
  const right = constantTimeEquals(salt ? salted : plain, user.hash);
  return known && right ? user : null;
}

function readUser(name: string, path: string): User {
  const parts = Config.string(path).split(":");
  const salted = parts.length == 3 && parts[0] == "hmac-sha256";
  if (!salted && !(parts.length == 2 && parts[0] == "sha256")) refuseHash(path);
  const salt = salted ? Hex.decode(parts[1]) : null;
  const hash = Hex.decode(parts[parts.length - 1]);
  if (!hash || hash.length != 32 || (salted && (!salt || !salt.length))) refuseHash(path);
  return new User(sha256(toUtf8(name)), name, salt, hash!);
}

/** What stands there may be the password itself: it must not stand in a message. */
function refuseHash(path: string): void {
  throw new Error(`config ${path}: expected sha256:HASH or hmac-sha256:SALT:HASH, in hexadecimal`);
}
