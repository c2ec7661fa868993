// Authenticates requests by API key, and sets the key's name in a header for the endpoint:
//
//     api-key:
//       keys:                      # name: key, or `sha256:` and the SHA-256 of the key in hexadecimal
//         alice: "${ALICE_KEY}"
//         build: sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
//       header: x-api-key          # header that contains the key; or
//       query: key                 # query parameter that contains the key
//       forward: x-consumer        # header for the endpoint with the key's name; the client's own is dropped
//       keep: false                # true: the key is forwarded to the endpoint
//
// A missing, repeated or unknown key gets 401. Keys of less than 16 characters are rejected, since they can be guessed.
// Keys are compared in constant time.

import { Bytes, Config, Headers, Hex, PerInstance, Query, Request, constantTimeEquals, sha256, toBytes, toUtf8 } from "sluice/sdk";

export const servesMany = true;

/** Minimum length of a key. */
const MIN_LENGTH: i32 = 16;

class Settings {
  header: string = "";
  query: string = "";
  forward: string = "";
  keep: bool = false;
  names: string[] = [];
  hashes: Bytes[] = [];
}

const current = new PerInstance<Settings>();

export function configure(): void {
  Config.allow("", ["keys", "header", "query", "forward", "keep"]);
  const settings = new Settings();
  if (Config.has("query")) {
    if (Config.has("header")) Config.refuse("query", "either header or query, not both");
    settings.query = Config.string("query");
  } else settings.header = readHeader("header", "x-api-key");
  settings.forward = readHeader("forward", "x-consumer");
  settings.keep = Config.bool("keep");
  const names = Config.keys("keys");
  if (!names.length) Config.refuse("keys", "at least one key");
  for (let i = 0; i < names.length; i++) {
    if (!names[i].length || !Headers.isValue(names[i])) Config.refuse("keys", `names of printable ASCII, not "${names[i]}"`);
    settings.names.push(names[i]);
    settings.hashes.push(readKey(Config.join("keys", names[i])));
  }
  current.set(settings);
}

export function onRequest(req: Request): void {
  const settings = current.get();
  req.headers.own(settings.forward);
  const key = settings.query.length ? takeFromQuery(req, settings) : takeFromHeader(req, settings);
  const found = key === null ? -1 : find(settings, sha256(toBytes(key)));
  if (found >= 0) req.headers.set(settings.forward, settings.names[found]);
  else req.respond(401, "API key required\n").headers.set("www-authenticate", "ApiKey");
}

/** Index of the key with this hash, or -1. Compares all keys, so that the time does not depend on the index. */
function find(settings: Settings, hash: Bytes): i32 {
  let found = -1;
  for (let i = 0; i < settings.hashes.length; i++) {
    if (constantTimeEquals(hash, settings.hashes[i])) found = i;
  }
  return found;
}

/** The key, or null if there is none or more than one. A forwarded key is the verified one, in a single header. */
function takeFromHeader(req: Request, settings: Settings): string | null {
  const key = req.headers.get(settings.header);
  if (req.headers.nth(settings.header, 1) !== null) return null;
  req.headers.own(settings.header);
  if (settings.keep && key !== null) req.headers.set(settings.header, key);
  return key;
}

function takeFromQuery(req: Request, settings: Settings): string | null {
  const query = new Query(req.query);
  const key = query.get(settings.query);
  if (key === null) return null;
  const count = query.count;
  query.remove(settings.query);
  if (!settings.keep) req.query = query.toString();
  // Keys are printable ASCII. Other characters cannot be converted to bytes.
  return count - query.count == 1 && Headers.isValue(key) ? key : null;
}

function readKey(path: string): Bytes {
  const text = Config.string(path);
  if (text.startsWith("sha256:")) {
    const hash = Hex.decode(text.substring(7));
    if (!hash || hash.length != 32) throw new Error(`config ${path}: expected 64 hexadecimal digits after sha256:`);
    return hash;
  }
  // The message must not contain the key.
  if (text.length < MIN_LENGTH || !Headers.isValue(text)) throw new Error(`config ${path}: expected a key of at least ${MIN_LENGTH} printable ASCII characters`);
  return sha256(toUtf8(text));
}

function readHeader(path: string, fallback: string): string {
  const name = Config.string(path, fallback);
  if (!Headers.canSet(name) || name.toLowerCase() == "host") Config.refuse(path, "a header that may be set");
  return name;
}
