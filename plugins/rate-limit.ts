// Limits the rate of requests per client, and reports the remaining quota in headers:
//
//     rate-limit:
//       quota: 100                 # requests
//       window: 60                 # per this number of seconds
//       burst: 20                  # maximum burst; default: the whole quota
//       key: client-address        # requests with the same key share a quota: one or a list of client-address,
//                                  # header:NAME, cookie:NAME, query:NAME, method, path, host, route
//       v6: 64                     # prefix length of IPv6 addresses: a client usually has a whole /64
//       v4: 32                     # prefix length of IPv4 addresses
//       name: default              # name of the policy in the RateLimit headers
//       dryRun: false              # true: logs requests over the limit instead of rejecting them
//
// Requests are allowed at an even pace plus a burst (GCRA, the generic cell rate algorithm: a leaky bucket with one stored
// value, the time at which it is empty). All workers share the counters; proxies do not. A full store evicts the entries
// that were not used for the longest time, in favour of the client.
//
// A request over the limit gets 429 with Retry-After and a problem of the type `quota-exceeded` (RFC 9457). All responses
// have RateLimit-Policy and RateLimit (draft-ietf-httpapi-ratelimit-headers-11): `r` requests remain, and the full quota
// is available after `t` seconds. A missing part of the key counts as an empty value.

import { Config, Headers, Hex, IpAddress, KeyValue, PerInstance, Request, Response, kv, log, now, sha256, toUtf8 } from "sluice/sdk";
import { KeyPart, readKey } from "./shared/request-key";

export const servesMany = true;

/** Attempts to update an entry that other workers update too; then the request is allowed without being counted. */
const ATTEMPTS: i32 = 8;

class Settings {
  store: KeyValue = new KeyValue(-1);
  name: string = "";
  policy: string = "";
  prefix: string = "";
  /** Milliseconds per request at the even pace, and for the whole burst. */
  interval: f64 = 0;
  reserve: f64 = 0;
  parts: KeyPart[] = [];
  v4: i32 = 32;
  v6: i32 = 64;
  dryRun: bool = false;
}

const current = new PerInstance<Settings>();

export function configure(): void {
  Config.allow("", ["quota", "window", "burst", "key", "v4", "v6", "name", "dryRun"]);
  const settings = new Settings();
  const quota = positive("quota", -1);
  const window = positive("window", -1);
  const burst = positive("burst", quota);
  if (burst > quota) Config.refuse("burst", "at most the quota");
  settings.interval = (<f64>window * 1000) / quota;
  settings.reserve = settings.interval * burst;
  settings.name = Config.string("name", "default");
  if (!Headers.isToken(settings.name)) Config.refuse("name", "a token (RFC 9110)");
  settings.policy = `"${settings.name}";q=${quota};w=${window}`;
  // Uses of the same policy share counters; a changed policy starts with new ones.
  settings.prefix = `${settings.name} ${quota} ${window} ${burst} `;
  settings.v4 = bits("v4", 32);
  settings.v6 = bits("v6", 128, 64);
  settings.dryRun = Config.bool("dryRun");
  settings.parts = readKey();
  settings.store = kv("rate-limit");
  current.set(settings);
}

export function onRequest(req: Request): void {
  const settings = current.get();
  const key = settings.prefix + keyOf(settings, req);
  const time = now();
  // The time at which the full burst is available again; negative if the request is over the limit.
  const full = take(settings, key, time);
  const used = abs(full) - seen;
  const left = <i32>Math.floor((settings.reserve - used) / settings.interval + 1e-6);
  const state = `"${settings.name}";r=${max(left, 0)};t=${seconds(used)}`;
  if (full < 0 && !settings.dryRun) {
    const body = `{"type":"https://iana.org/assignments/http-problem-types#quota-exceeded","title":"Too many requests","status":429,"violated-policies":["${settings.name}"]}`;
    const headers = req.respond(429, body).headers;
    headers.set("content-type", "application/problem+json");
    // The time until the next request is allowed.
    headers.set("retry-after", seconds(used + settings.interval - settings.reserve).toString());
    report(settings, state, headers);
    return;
  }
  if (full < 0) log.info(`dry run: over the limit ${settings.policy}, ${req.method} ${req.path} from ${req.clientAddress}`);
  req.set("rate " + settings.name, state);
}

/** Not called for the local response of onRequest. */
export function onResponse(req: Request, res: Response): void {
  const settings = current.get();
  const state = req.get("rate " + settings.name);
  if (state !== null) report(settings, state, res.headers);
}

/** Adds the headers; another policy may have added its own. */
function report(settings: Settings, state: string, headers: Headers): void {
  headers.add("ratelimit-policy", settings.policy);
  headers.add("ratelimit", state);
}

/**
 * The time used for the current request: that of this worker, or of another worker that was ahead. Each worker's clock
 * advances every 50 ms on its own; without this, one that is behind would underestimate the remaining burst.
 */
let seen: f64 = 0;

/** Counts the request. Returns the time at which the full burst is available again; negated if it is over the limit. */
function take(settings: Settings, key: string, time: f64): f64 {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const entry = settings.store.getEntry(key);
    seen = time;
    let before = time;
    if (entry) {
      const space = entry.value.indexOf(" ");
      if (space >= 0) seen = max(time, parseFloat(entry.value.substring(space + 1)));
      before = max(parseFloat(space < 0 ? entry.value : entry.value.substring(0, space)), seen);
    }
    const after = before + settings.interval;
    // A rejected request writes nothing, so that a flood of them stays cheap.
    if (after - seen > settings.reserve + 1e-6) return -before;
    const value = `${after} ${seen}`;
    if (settings.store.compareAndSet(key, entry ? entry.version : 0, value, Math.ceil(after - seen))) return after;
  }
  return time;
}

/** The key of the entry. Hashed, since keys are limited in length and values such as cookies are secret. */
function keyOf(settings: Settings, req: Request): string {
  let text = "";
  for (let i = 0; i < settings.parts.length; i++) text += `${valueOf(settings, settings.parts[i], req)}\n`;
  return Hex.encode(sha256(toUtf8(text)).slice<StaticArray<u8>>(0, 16));
}

function valueOf(settings: Settings, part: KeyPart, req: Request): string {
  const value = part.valueIn(req);
  if (value === null) return "";
  const address = part.isAddress ? IpAddress.parse(value) : null;
  return address ? address.network(settings.v4, settings.v6).toString() : value;
}

function seconds(time: f64): i32 {
  return <i32>Math.ceil(max(time, 0) / 1000 - 1e-9);
}

function positive(path: string, fallback: i32): i32 {
  const value = fallback < 0 ? Config.int(path) : Config.int(path, fallback);
  if (value < 1 || value > 1000000000) Config.refuse(path, "1 or more");
  return value;
}

function bits(path: string, max: i32, fallback: i32 = max): i32 {
  const value = Config.int(path, fallback);
  if (value < 0 || value > max) Config.refuse(path, `0 to ${max}`);
  return value;
}
