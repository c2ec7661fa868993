// Lets those in who bring a token that was signed by one of the keys which a server publishes (JWT; a JWK set, RFC 7517):
//
//     jwt-jwks:
//       jwks: https://id.example.com/.well-known/jwks.json   # or cluster:NAME/path, by a cluster of this configuration
//       refresh: 300                     # seconds after which the keys are asked for again
//       cooldown: 10                     # seconds between two such requests at least, whatever comes
//       stale: 86400                     # seconds for which keys are good while the server gives none
//       timeout: 2000                    # milliseconds, for the server's whole answer
//
// and issuer, audience, leeway, expires, cookie, claims, keep as jwt has them.
//
// All threads share the keys, in the key-value rule.store. Only a tick asks for them, so that no client who leaves can stop
// it: when they are older than `refresh`, and soon after a token came with a `kid` that is not among them, which is how
// a new key is found. Such a request waits for the answer, then its token is judged; within `cooldown` of the last
// answer it is refused at once. So a flood of made-up names costs the server no more than one request in that time.
//
// RS256, PS256, ES256 and EdDSA. The key says which one it is for, by its `alg`, or by its kind: RS256, ES256, EdDSA.

import { Bytes, Config, Fetch, Json, JsonValue, JsonWriter, KeyValue, PerInstance, PublicKey, Request, cluster, kv, log, sleep, tickEvery } from "sluice/sdk";
import { COMMON, Expected, MOST_TRIES, Token, UNKNOWN_KEY, judge, readExpected, takeToken, textOf } from "./shared/token";

export const servesMany = true;

const LOOKS: i32 = 100;
const MOST_KEYS: i32 = 50;
const MOST_BYTES: i32 = 48 * 1024;
const LONGEST_URL: i32 = 200;
const LONGEST_KID: i32 = 200;
/** Milliseconds between two looks of a request that waits. */
const PAUSE: i32 = 25;
/** Requests that wait for one answer: others are told to come again, so that guests are left for known keys. */
const MOST_WAITING: f64 = 16;

/** What `asked` says: the server is being asked, or it was, less than `cooldown` ago. */
const ASKING: string = "asking";
const DONE: string = "done";

class Rule {
  url: string = "";
  refresh: i32 = 0;
  cooldown: i32 = 0;
  stale: i32 = 0;
  timeout: i32 = 0;

  constructor(
    readonly expected: Expected,
    readonly store: KeyValue,
  ) {}

  get keys(): string {
    return `${this.url} keys`;
  }

  /** There while the keys are young enough. */
  get fresh(): string {
    return `${this.url} fresh`;
  }

  /** There since a token came whose key is not known. */
  get wanted(): string {
    return `${this.url} wanted`;
  }

  get asked(): string {
    return `${this.url} asked`;
  }

  get waiting(): string {
    return `${this.url} waiting`;
  }
}

const rules = new PerInstance<Rule>();

export function configure(): void {
  Config.allow("", ["jwks", "refresh", "cooldown", "stale", "timeout"].concat(COMMON));
  const rule = new Rule(readExpected(), kv("jwt-jwks"));
  rule.url = readUrl();
  rule.refresh = readNumber("refresh", 300, 10, 86_400) * 1000;
  rule.cooldown = readNumber("cooldown", 10, 1, 3600) * 1000;
  rule.stale = readNumber("stale", 86_400, 60, 604_800) * 1000;
  rule.timeout = readNumber("timeout", 2000, 50, 30_000);
  if (rule.stale < rule.refresh) Config.refuse("stale", "at least as long as refresh");
  rules.set(rule);
  tickEvery(LOOKS);
}

export function onRequest(req: Request): void {
  const rule = rules.get();
  const token = takeToken(rule.expected, req);
  if (!token) return;
  if (!token.fault.length) {
    let found = verify(rule, token);
    if (found == Found.unknown && isNamed(token)) {
      const came = waitForKeys(rule);
      if (came == Wait.full) return answerLater(req);
      if (came == Wait.over) found = verify(rule, token);
    }
    // Without any key nothing can be said of a token.
    if (found == Found.unknown && !rule.store.has(rule.keys)) return answerLater(req);
    if (found != Found.signed) token.fault = UNKNOWN_KEY;
  }
  judge(rule.expected, req, token);
}

/** Asks for the keys, when it is time to. */
export function onTick(): void {
  const rule = rules.get();
  if (rule.store.has(rule.fresh) && !rule.store.has(rule.wanted)) return;
  // One thread does, and not again before the time is over.
  const begun = <f64>(rule.cooldown + rule.timeout);
  if (!rule.store.compareAndSet(rule.asked, 0, ASKING, begun)) return;
  const answer = new Fetch(rule.url).timeout(rule.timeout).limit(MOST_BYTES * 4).header("accept", "application/json").send();
  const keys = answer.ok ? readSet(answer.bytes()) : null;
  if (keys !== null) {
    rule.store.set(rule.keys, keys, <f64>rule.stale);
    rule.store.set(rule.fresh, "1", <f64>rule.refresh);
  } else log.warn(`${rule.url} gave no keys: ${whyNot(answer.status, answer.timedOut, rule.timeout)}`);
  rule.store.delete(rule.wanted);
  rule.store.delete(rule.waiting);
  rule.store.set(rule.asked, DONE, <f64>rule.cooldown);
}

function whyNot(status: i32, timedOut: bool, timeout: i32): string {
  if (timedOut) return `no answer within ${timeout} ms`;
  if (!status) return "it cannot be reached, or its answer is too large";
  return status >= 200 && status <= 299 ? "its answer is no JWK set with a key that can be used" : `it answered ${status}`;
}

// ── Keys ──────────────────────────────────────────────────────────────────────────────────────────────────────────

namespace Found {
  export const signed: i32 = 0;
  /** By a key that is known, and wrongly. */
  export const wrong: i32 = 1;
  /** No key fits. */
  export const unknown: i32 = 2;
}

/** Only a name that is not known is a reason to ask for keys: others would be found among those that are there. */
function isNamed(token: Token): bool {
  const algorithm = token.algorithm;
  const kid = token.kid;
  return kid !== null && kid.length <= LONGEST_KID && algorithm !== null && isServed(algorithm);
}

/** Each key is a line of the entry: algorithm, name and JWK. */
function verify(rule: Rule, token: Token): i32 {
  const text = rule.store.get(rule.keys);
  if (text === null) return Found.unknown;
  const kid = token.kid;
  let tries = 0;
  for (let at = 0; at < text.length && tries < MOST_TRIES; ) {
    const end = text.indexOf("\n", at);
    const nameAt = text.indexOf("\t", at) + 1;
    const keyAt = text.indexOf("\t", nameAt) + 1;
    const algorithm = text.substring(at, nameAt - 1);
    const name = text.substring(nameAt, keyAt - 1);
    at = end + 1;
    if (algorithm != token.algorithm || (name.length && kid !== null && name != kid)) continue;
    tries++;
    const key = PublicKey.read(algorithm, text.substring(keyAt, end));
    if (key && key.verify(token.data, token.signature)) return Found.signed;
  }
  return tries ? Found.wrong : Found.unknown;
}

/** The keys of a JWK set as lines; null when there is none. */
function readSet(bytes: Uint8Array): string | null {
  const copy = new StaticArray<u8>(bytes.length);
  memory.copy(changetype<usize>(copy), bytes.dataStart, bytes.length);
  const set = Json.parse(copy);
  const keys = set && set.isObject ? set.get("keys") : null;
  if (!keys || !keys.isArray) return null;
  let lines = "";
  let count = 0;
  for (let i = 0; i < keys.count && count < MOST_KEYS; i++) {
    const line = readKey(keys.at(i)!);
    if (!line.length || lines.length + line.length > MOST_BYTES) continue;
    lines += line;
    count++;
  }
  return count ? lines : null;
}

/** A key as a line; empty when it is none for signatures. RFC 7517: what is not understood is passed over. */
function readKey(key: JsonValue): string {
  const use = textOf(key.get("use"));
  if (!key.isObject || (use !== null && use != "sig") || key.get("d")) return "";
  const kind = textOf(key.get("kty"));
  const named = textOf(key.get("kid"));
  const kid = named === null ? "" : named;
  const alg = textOf(key.get("alg"));
  const algorithm = alg === null ? usualFor(kind) : alg;
  if (!isServed(algorithm) || kid.length > LONGEST_KID || !isPlain(kid)) return "";
  const members = ["kty", "crv", "x", "y", "n", "e"];
  const json = new JsonWriter().beginObject();
  for (let i = 0; i < members.length; i++) {
    const value = textOf(key.get(members[i]));
    if (value !== null) json.key(members[i]).string(value);
  }
  const text = json.endObject().toString();
  return PublicKey.read(algorithm, text) ? `${algorithm}\t${kid}\t${text}\n` : "";
}

function usualFor(kind: string | null): string {
  if (kind == "RSA") return "RS256";
  if (kind == "EC") return "ES256";
  return kind == "OKP" ? "EdDSA" : "";
}

function isServed(algorithm: string): bool {
  return algorithm == "RS256" || algorithm == "PS256" || algorithm == "ES256" || algorithm == "EdDSA";
}

function isPlain(text: string): bool {
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) < 0x20) return false;
  return true;
}

// ── Waiting ───────────────────────────────────────────────────────────────────────────────────────────────────────

namespace Wait {
  /** The keys are as new as they can be now. */
  export const needless: i32 = 0;
  export const over: i32 = 1;
  /** Too many wait already. */
  export const full: i32 = 2;
}

/** Has the keys asked for, and waits until they were, if that may be done now. */
function waitForKeys(rule: Rule): i32 {
  if (rule.store.get(rule.asked) == DONE) return Wait.needless;
  const most = rule.timeout + 10 * LOOKS;
  if (rule.store.increment(rule.waiting, 1, <f64>most) > MOST_WAITING) return Wait.full;
  rule.store.set(rule.wanted, "1", <f64>(most + rule.cooldown));
  for (let waited = 0; waited < most; waited += PAUSE) {
    sleep(PAUSE);
    if (rule.store.get(rule.asked) == DONE) break;
  }
  return Wait.over;
}

function answerLater(req: Request): void {
  req.respond(503, "the keys for tokens cannot be had now\n").headers.set("retry-after", "1");
}

// ── Configuration ─────────────────────────────────────────────────────────────────────────────────────────────────

function readUrl(): string {
  const url = Config.string("jwks");
  const isCluster = url.startsWith("cluster:");
  const start = isCluster ? 8 : url.startsWith("https://") ? 8 : url.startsWith("http://") ? 7 : 0;
  let plain = start > 0 && url.length > start && url.length <= LONGEST_URL;
  for (let i = 0; i < url.length; i++) {
    const unit = url.charCodeAt(i);
    if (unit <= 0x20 || unit >= 0x7f || unit == 0x23 || unit == 0x40) plain = false;
  }
  if (!plain) Config.refuse("jwks", `https://HOST/PATH or cluster:NAME/PATH, at most ${LONGEST_URL} characters`);
  if (isCluster) {
    const slash = url.indexOf("/");
    // An unknown one is refused.
    cluster(url.substring(start, slash < 0 ? url.length : slash));
  }
  return url;
}

function readNumber(key: string, usual: i32, least: i32, most: i32): i32 {
  const value = Config.int(key, usual);
  if (value < least || value > most) Config.refuse(key, `a whole number from ${least} to ${most}`);
  return value;
}
