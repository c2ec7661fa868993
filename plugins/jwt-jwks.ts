// Authenticates requests by a signed token (JWT), with keys that are fetched from a server as a JWK set (RFC 7517):
//
//     jwt-jwks:
//       jwks: https://id.example.com/.well-known/jwks.json   # or cluster:NAME/path, for a cluster of this configuration
//       refresh: 300                     # seconds after which the keys are fetched again
//       cooldown: 10                     # minimum seconds between two fetches
//       stale: 86400                     # seconds for which keys stay valid while the server is unavailable
//       timeout: 2000                    # milliseconds, for the server's whole response
//
// `issuer`, `audience`, `leeway`, `expires`, `cookie`, `claims` and `keep` are those of `jwt`.
//
// All workers share the keys in the key-value store. Only a tick fetches them, so that a client that disconnects cannot
// cancel the fetch: after `refresh`, and soon after a token with an unknown `kid`, since the server may have a new key. A
// request with such a token is suspended until the fetch ends; within `cooldown` of the last fetch it is rejected at
// once. So tokens with invented key ids cause at most one fetch per `cooldown`.
//
// Algorithms: RS256, PS256, ES256 and EdDSA; of each key by its `alg`, or by its type: RS256, ES256, EdDSA.

import { Bytes, Config, Fetch, Json, JsonValue, JsonWriter, KeyValue, PerInstance, PublicKey, Request, cluster, kv, log, sleep, tickEvery } from "sluice/sdk";
import { COMMON, Expected, MAX_VERIFICATIONS, Token, INVALID_SIGNATURE, evaluate, readExpected, takeToken, textOf } from "./shared/token";

export const servesMany = true;

/** Milliseconds between two ticks. */
const TICK: i32 = 100;
const MAX_KEYS: i32 = 50;
const MAX_BYTES: i32 = 48 * 1024;
const MAX_URL: i32 = 200;
const MAX_KID: i32 = 200;
/** Polling interval of a suspended request, in milliseconds. */
const POLL: i32 = 25;
/** Maximum number of requests suspended for one fetch; further ones get 503, so that guests are left for known keys. */
const MAX_SUSPENDED: f64 = 16;

/** Values of the entry `fetch`: a fetch is in progress, or ended less than `cooldown` ago. */
const FETCHING: string = "fetching";
const DONE: string = "done";

class Settings {
  url: string = "";
  refresh: i32 = 0;
  cooldown: i32 = 0;
  stale: i32 = 0;
  timeout: i32 = 0;

  constructor(
    readonly expected: Expected,
    readonly store: KeyValue,
  ) {}

  // Keys of the enverifications in the store.

  get keys(): string {
    return `${this.url} keys`;
  }

  /** Exists until the keys are older than `refresh`. */
  get recent(): string {
    return `${this.url} recent`;
  }

  /** Exists if a token with an unknown key was received: requests a fetch. */
  get requested(): string {
    return `${this.url} requested`;
  }

  get fetch(): string {
    return `${this.url} fetch`;
  }

  /** Counter of suspended requests. */
  get suspended(): string {
    return `${this.url} suspended`;
  }
}

const current = new PerInstance<Settings>();

export function configure(): void {
  Config.allow("", ["jwks", "refresh", "cooldown", "stale", "timeout"].concat(COMMON));
  const settings = new Settings(readExpected(), kv("jwt-jwks"));
  settings.url = readUrl();
  settings.refresh = readNumber("refresh", 300, 10, 86_400) * 1000;
  settings.cooldown = readNumber("cooldown", 10, 1, 3600) * 1000;
  settings.stale = readNumber("stale", 86_400, 60, 604_800) * 1000;
  settings.timeout = readNumber("timeout", 2000, 50, 30_000);
  if (settings.stale < settings.refresh) Config.refuse("stale", "at least as long as refresh");
  current.set(settings);
  tickEvery(TICK);
}

export function onRequest(req: Request): void {
  const settings = current.get();
  const token = takeToken(settings.expected, req);
  if (!token) return;
  if (!token.error.length) {
    let found = verify(settings, token);
    if (found == Found.unknown && namesKey(token)) {
      const result = awaitKeys(settings);
      if (result == Await.full) return respondUnavailable(req);
      if (result == Await.fetched) found = verify(settings, token);
    }
    // Without keys no token can be verified.
    if (found == Found.unknown && !settings.store.has(settings.keys)) return respondUnavailable(req);
    if (found != Found.valid) token.error = INVALID_SIGNATURE;
  }
  evaluate(settings.expected, req, token);
}

/** Fetches the keys if they are older than `refresh` or a fetch was requested. */
export function onTick(): void {
  const settings = current.get();
  if (settings.store.has(settings.recent) && !settings.store.has(settings.requested)) return;
  // Only one worker fetches; the entry expires in case that worker fails.
  const lease = <f64>(settings.cooldown + settings.timeout);
  if (!settings.store.compareAndSet(settings.fetch, 0, FETCHING, lease)) return;
  const response = new Fetch(settings.url).timeout(settings.timeout).limit(MAX_BYTES * 4).header("accept", "application/json").send();
  const keys = response.ok ? readSet(response.bytes()) : null;
  if (keys !== null) {
    settings.store.set(settings.keys, keys, <f64>settings.stale);
    settings.store.set(settings.recent, "1", <f64>settings.refresh);
  } else log.warn(`${settings.url}: no keys fetched: ${describe(response.status, response.timedOut, settings.timeout)}`);
  settings.store.delete(settings.requested);
  settings.store.delete(settings.suspended);
  settings.store.set(settings.fetch, DONE, <f64>settings.cooldown);
}

function describe(status: i32, timedOut: bool, timeout: i32): string {
  if (timedOut) return `no response within ${timeout} ms`;
  if (!status) return "unreachable, or response too large";
  return status >= 200 && status <= 299 ? "the response is not a JWK set with a supported key" : `status ${status}`;
}

// ── Keys ──────────────────────────────────────────────────────────────────────────────────────────────────────────

namespace Found {
  export const valid: i32 = 0;
  /** A key matches, but the signature is invalid. */
  export const invalid: i32 = 1;
  /** No key matches. */
  export const unknown: i32 = 2;
}

/** Whether the token names a key. Only an unknown `kid` justifies a fetch: without one all keys were tried. */
function namesKey(token: Token): bool {
  const algorithm = token.algorithm;
  const kid = token.kid;
  return kid !== null && kid.length <= MAX_KID && algorithm !== null && isSupported(algorithm);
}

/** Verifies the signature by the stored keys: a line per key with algorithm, key id and JWK, separated by tabs. */
function verify(settings: Settings, token: Token): i32 {
  const text = settings.store.get(settings.keys);
  if (text === null) return Found.unknown;
  const kid = token.kid;
  let verifications = 0;
  for (let at = 0; at < text.length && verifications < MAX_VERIFICATIONS; ) {
    const end = text.indexOf("\n", at);
    const nameAt = text.indexOf("\t", at) + 1;
    const keyAt = text.indexOf("\t", nameAt) + 1;
    const algorithm = text.substring(at, nameAt - 1);
    const name = text.substring(nameAt, keyAt - 1);
    at = end + 1;
    if (algorithm != token.algorithm || (name.length && kid !== null && name != kid)) continue;
    verifications++;
    const key = PublicKey.read(algorithm, text.substring(keyAt, end));
    if (key && key.verify(token.data, token.signature)) return Found.valid;
  }
  return verifications ? Found.invalid : Found.unknown;
}

/** The keys of a JWK set as lines; null if there is no supported one. */
function readSet(bytes: Uint8Array): string | null {
  const copy = new StaticArray<u8>(bytes.length);
  memory.copy(changetype<usize>(copy), bytes.dataStart, bytes.length);
  const set = Json.parse(copy);
  const keys = set && set.isObject ? set.get("keys") : null;
  if (!keys || !keys.isArray) return null;
  let lines = "";
  let count = 0;
  for (let i = 0; i < keys.count && count < MAX_KEYS; i++) {
    const line = readKey(keys.at(i)!);
    if (!line.length || lines.length + line.length > MAX_BYTES) continue;
    lines += line;
    count++;
  }
  return count ? lines : null;
}

/** A key as a line; empty if it is not a supported signature key, which RFC 7517 section 5 requires to ignore. */
function readKey(key: JsonValue): string {
  const use = textOf(key.get("use"));
  if (!key.isObject || (use !== null && use != "sig") || key.get("d")) return "";
  const type = textOf(key.get("kty"));
  const id = textOf(key.get("kid"));
  const kid = id === null ? "" : id;
  const alg = textOf(key.get("alg"));
  const algorithm = alg === null ? defaultFor(type) : alg;
  if (!isSupported(algorithm) || kid.length > MAX_KID || !isPlain(kid)) return "";
  const members = ["kty", "crv", "x", "y", "n", "e"];
  const json = new JsonWriter().beginObject();
  for (let i = 0; i < members.length; i++) {
    const value = textOf(key.get(members[i]));
    if (value !== null) json.key(members[i]).string(value);
  }
  const text = json.endObject().toString();
  return PublicKey.read(algorithm, text) ? `${algorithm}\t${kid}\t${text}\n` : "";
}

function defaultFor(type: string | null): string {
  if (type == "RSA") return "RS256";
  if (type == "EC") return "ES256";
  return type == "OKP" ? "EdDSA" : "";
}

function isSupported(algorithm: string): bool {
  return algorithm == "RS256" || algorithm == "PS256" || algorithm == "ES256" || algorithm == "EdDSA";
}

function isPlain(text: string): bool {
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) < 0x20) return false;
  return true;
}

// ── Suspending ────────────────────────────────────────────────────────────────────────────────────────────────────

namespace Await {
  /** The last fetch is less than `cooldown` ago. */
  export const recent: i32 = 0;
  export const fetched: i32 = 1;
  /** Too many requests are suspended. */
  export const full: i32 = 2;
}

/** Requests a fetch and suspends until it ends, unless the last one is recent or too many requests are suspended. */
function awaitKeys(settings: Settings): i32 {
  if (settings.store.get(settings.fetch) == DONE) return Await.recent;
  const limit = settings.timeout + 10 * TICK;
  if (settings.store.increment(settings.suspended, 1, <f64>limit) > MAX_SUSPENDED) return Await.full;
  settings.store.set(settings.requested, "1", <f64>(limit + settings.cooldown));
  for (let waited = 0; waited < limit; waited += POLL) {
    sleep(POLL);
    if (settings.store.get(settings.fetch) == DONE) break;
  }
  return Await.fetched;
}

function respondUnavailable(req: Request): void {
  req.respond(503, "keys unavailable\n").headers.set("retry-after", "1");
}

// ── Configuration ─────────────────────────────────────────────────────────────────────────────────────────────────

function readUrl(): string {
  const url = Config.string("jwks");
  const isCluster = url.startsWith("cluster:");
  const start = isCluster ? 8 : url.startsWith("https://") ? 8 : url.startsWith("http://") ? 7 : 0;
  let plain = start > 0 && url.length > start && url.length <= MAX_URL;
  for (let i = 0; i < url.length; i++) {
    const unit = url.charCodeAt(i);
    if (unit <= 0x20 || unit >= 0x7f || unit == 0x23 || unit == 0x40) plain = false;
  }
  if (!plain) Config.refuse("jwks", `https://HOST/PATH or cluster:NAME/PATH, at most ${MAX_URL} characters`);
  if (isCluster) {
    const slash = url.indexOf("/");
    // Throws if the cluster is unknown.
    cluster(url.substring(start, slash < 0 ? url.length : slash));
  }
  return url;
}

function readNumber(key: string, fallback: i32, min: i32, max: i32): i32 {
  const value = Config.int(key, fallback);
  if (value < min || value > max) Config.refuse(key, `a whole number from ${min} to ${max}`);
  return value;
}
