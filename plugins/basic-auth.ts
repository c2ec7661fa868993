// Authenticates requests by user name and password (HTTP Basic, RFC 7617), and sets the user name in a header for the
// endpoint:
//
//     basic-auth:
//       realm: Staging             # shown by the browser
//       users:                     # name: hash of the password
//         alice: sha256:5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8
//         bob: hmac-sha256:7361:9a1c…     # with a salt: the salt in hexadecimal, then HMAC-SHA-256 with it as key
//       forward: x-user            # header for the endpoint with the user name; the client's own is dropped
//       keep: false                # true: the password is forwarded to the endpoint
//
// Security: the hashes are fast, since they are computed for each request. An attacker who reads the configuration can
// try billions of passwords per second. Use long random passwords. For passwords chosen by users, use sessions and a
// login service with a slow hash (bcrypt, Argon2) instead. Without TLS, passwords are sent in clear text.

import { Base64, Bytes, Config, Headers, Hex, PerInstance, Request, constantTimeEquals, hmacSha256, sha256, toUtf8 } from "sluice/sdk";

export const servesMany = true;

class User {
  constructor(
    /** SHA-256 of the name: all hashes have the same length. */
    readonly name: Bytes,
    readonly text: string,
    /** Null: the hash is unsalted SHA-256. */
    readonly salt: Bytes | null,
    readonly hash: Bytes,
  ) {}
}

class Settings {
  challenge: string = "";
  forward: string = "";
  keep: bool = false;
  users: User[] = [];
}

const current = new PerInstance<Settings>();

export function configure(): void {
  Config.allow("", ["realm", "users", "forward", "keep"]);
  const settings = new Settings();
  const realm = Config.string("realm", "sluice");
  if (!Headers.isValue(realm) || realm.includes('"') || realm.includes("\\")) Config.refuse("realm", "printable ASCII without quotation marks and backslashes");
  settings.challenge = `Basic realm="${realm}", charset="UTF-8"`;
  settings.forward = Config.string("forward", "x-user");
  if (!Headers.canSet(settings.forward) || settings.forward.toLowerCase() == "host") Config.refuse("forward", "a header that may be set");
  settings.keep = Config.bool("keep");
  const names = Config.keys("users");
  if (!names.length) Config.refuse("users", "at least one user");
  for (let i = 0; i < names.length; i++) {
    if (!names[i].length || names[i].includes(":") || !Headers.isValue(names[i])) Config.refuse("users", `names of printable ASCII without a colon, not "${names[i]}"`);
    settings.users.push(readUser(names[i], Config.join("users", names[i])));
  }
  current.set(settings);
}

export function onRequest(req: Request): void {
  const settings = current.get();
  req.headers.own(settings.forward);
  const given = readCredentials(req);
  if (!settings.keep) req.headers.remove("authorization");
  const user = given ? find(settings, given) : null;
  if (user) req.headers.set(settings.forward, user.text);
  else req.respond(401, "user name and password required\n").headers.set("www-authenticate", settings.challenge);
}

/** `name:password` as bytes; null if Authorization is missing, repeated or malformed. */
function readCredentials(req: Request): Bytes | null {
  const field = req.headers.get("authorization");
  if (field === null || req.headers.nth("authorization", 1) !== null) return null;
  if (field.substring(0, 6).toLowerCase() != "basic ") return null;
  return Base64.decode(field.substring(6).trim());
}

/**
 * The user with these credentials, or null. Compares all names and computes both hashes even for an unknown name, so that
 * the time does not reveal which names exist.
 */
function find(settings: Settings, given: Bytes): User | null {
  let colon = 0;
  while (colon < given.length && given[colon] != 0x3a) colon++;
  if (colon == given.length) return null;
  const name = sha256(given.slice<Bytes>(0, colon));
  const password = given.slice<Bytes>(colon + 1);
  let known = false;
  let user = settings.users[0];
  for (let i = 0; i < settings.users.length; i++) {
    if (!constantTimeEquals(name, settings.users[i].name)) continue;
    user = settings.users[i];
    known = true;
  }
  const salt = user.salt;
  const plain = sha256(password);
  const salted = hmacSha256(salt ? salt : name, password);
  const matches = constantTimeEquals(salt ? salted : plain, user.hash);
  return known && matches ? user : null;
}

function readUser(name: string, path: string): User {
  const parts = Config.string(path).split(":");
  const salted = parts.length == 3 && parts[0] == "hmac-sha256";
  if (!salted && !(parts.length == 2 && parts[0] == "sha256")) rejectHash(path);
  const salt = salted ? Hex.decode(parts[1]) : null;
  const hash = Hex.decode(parts[parts.length - 1]);
  if (!hash || hash.length != 32 || (salted && (!salt || !salt.length))) rejectHash(path);
  return new User(sha256(toUtf8(name)), name, salt, hash!);
}

/** Does not include the value in the message: it may be a password in clear text. */
function rejectHash(path: string): void {
  throw new Error(`config ${path}: expected sha256:HASH or hmac-sha256:SALT:HASH, in hexadecimal`);
}
