// Lets each client make so many requests in a time, and tells it how many are left:
//
//     rate-limit:
//       quota: 100                 # requests
//       window: 60                 # in so many seconds
//       burst: 20                  # at once, at most; the default is all of the quota
//       key: client-address        # whose requests are counted together: one or a list of client-address,
//                                  # header:NAME, cookie:NAME, query:NAME, method, path, host, route
//       v6: 64                     # of an IPv6 address so many bits: a client has a /64 of them as a rule
//       v4: 32
//       name: default              # of the policy, in the fields that tell of it
//       dryRun: false              # true: says in the log what it would refuse, and refuses nothing
//
// Requests are let through at an even pace, with a reserve of `burst` for those that come at once (GCRA, the generic
// cell rate algorithm: a leaky bucket that keeps one number, the time at which it is empty). All threads share the
// count; several proxies do not. A store that is full forgets who was not seen for longest, in their favour.
//
// Too many: 429, Retry-After, and a problem of the type `quota-exceeded`. Every answer carries RateLimit-Policy and
// RateLimit (draft-ietf-httpapi-ratelimit-headers-11): `r` requests are left, and after `t` seconds all of them.
// Requests that lack a part of the key are counted together.

import { Config, Cookies, Headers, Hex, IpAddress, KeyValue, PerInstance, Query, Request, Response, kv, log, now, sha256, toUtf8 } from "sluice/sdk";

export const servesMany = true;

/** Attempts against other threads that count the same client; then the request passes. */
const ATTEMPTS: i32 = 8;

class Rule {
  store: KeyValue = new KeyValue(-1);
  name: string = "";
  policy: string = "";
  prefix: string = "";
  /** Milliseconds that a request takes, and how many of them may be owed. */
  interval: f64 = 0;
  reserve: f64 = 0;
  parts: string[] = [];
  v4: i32 = 32;
  v6: i32 = 64;
  dryRun: bool = false;
}

const rules = new PerInstance<Rule>();

export function configure(): void {
  Config.allow("", ["quota", "window", "burst", "key", "v4", "v6", "name", "dryRun"]);
  const rule = new Rule();
  const quota = positive("quota", -1);
  const window = positive("window", -1);
  const burst = positive("burst", quota);
  if (burst > quota) Config.refuse("burst", "the quota or less");
  rule.interval = (<f64>window * 1000) / quota;
  rule.reserve = rule.interval * burst;
  rule.name = Config.string("name", "default");
  if (!Headers.isToken(rule.name)) Config.refuse("name", "a word");
  rule.policy = `"${rule.name}";q=${quota};w=${window}`;
  // Uses of the same policy count together; a policy that was changed begins anew.
  rule.prefix = `${rule.name} ${quota} ${window} ${burst} `;
  rule.v4 = bits("v4", 32);
  rule.v6 = bits("v6", 128, 64);
  rule.dryRun = Config.bool("dryRun");
  rule.parts = Config.has("key") ? Config.list("key") : ["client-address"];
  if (!rule.parts.length) Config.refuse("key", "at least one part");
  for (let i = 0; i < rule.parts.length; i++) checkPart(rule.parts[i]);
  rule.store = kv("rate-limit");
  rules.set(rule);
}

export function onRequest(req: Request): void {
  const rule = rules.get();
  const key = rule.prefix + keyOf(rule, req);
  const time = now();
  // When the reserve will be full again, after this request; below zero when it is refused.
  const full = take(rule, key, time);
  const owed = abs(full) - seen;
  const left = <i32>Math.floor((rule.reserve - owed) / rule.interval + 1e-6);
  const state = `"${rule.name}";r=${max(left, 0)};t=${seconds(owed)}`;
  if (full < 0 && !rule.dryRun) {
    const body = `{"type":"https://iana.org/assignments/http-problem-types#quota-exceeded","title":"Too many requests","status":429,"violated-policies":["${rule.name}"]}`;
    const headers = req.respond(429, body).headers;
    headers.set("content-type", "application/problem+json");
    // When the next request has room.
    headers.set("retry-after", seconds(owed + rule.interval - rule.reserve).toString());
    tell(rule, state, headers);
    return;
  }
  if (full < 0) log.info(`dry run: over the limit ${rule.policy}, ${req.method} ${req.path} from ${req.clientAddress}`);
  req.set("rate " + rule.name, state);
}

/** Not called for an answer of its own. */
export function onResponse(req: Request, res: Response): void {
  const rule = rules.get();
  const state = req.get("rate " + rule.name);
  if (state !== null) tell(rule, state, res.headers);
}

/** Other policies may have told of themselves. */
function tell(rule: Rule, state: string, headers: Headers): void {
  headers.add("ratelimit-policy", rule.policy);
  headers.add("ratelimit", state);
}

/**
 * The time by the request under way, or by an earlier one of another thread whose clock was ahead: the clocks move every
 * 50 ms, each thread's by itself, and one that is behind must not take the reserve for less than it is.
 */
let seen: f64 = 0;

/** Counts the request: when the reserve will be full again; the same below zero when there is no room for it. */
function take(rule: Rule, key: string, time: f64): f64 {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const entry = rule.store.getEntry(key);
    seen = time;
    let before = time;
    if (entry) {
      const space = entry.value.indexOf(" ");
      if (space >= 0) seen = max(time, parseFloat(entry.value.substring(space + 1)));
      before = max(parseFloat(space < 0 ? entry.value : entry.value.substring(0, space)), seen);
    }
    const after = before + rule.interval;
    // A refused request writes nothing: a flood of them costs a look.
    if (after - seen > rule.reserve + 1e-6) return -before;
    const value = `${after} ${seen}`;
    if (rule.store.compareAndSet(key, entry ? entry.version : 0, value, Math.ceil(after - seen))) return after;
  }
  return time;
}

/** Hashed: keys of the store are short, and what clients send as a secret is not kept. */
function keyOf(rule: Rule, req: Request): string {
  let text = "";
  for (let i = 0; i < rule.parts.length; i++) text += `${valueOf(rule, rule.parts[i], req)}\n`;
  return Hex.encode(sha256(toUtf8(text)).slice<StaticArray<u8>>(0, 16));
}

function valueOf(rule: Rule, part: string, req: Request): string {
  const colon = part.indexOf(":");
  const name = part.substring(colon + 1);
  let value: string | null = "";
  if (part == "client-address") {
    const address = IpAddress.parse(req.clientAddress);
    return address ? address.network(rule.v4, rule.v6).toString() : req.clientAddress;
  }
  if (part == "method") return req.method;
  if (part == "path") return req.path;
  if (part == "host") return req.host.toLowerCase();
  if (part == "route") return req.route;
  if (part.startsWith("header:")) value = req.headers.get(name);
  else if (part.startsWith("cookie:")) value = Cookies.get(req.headers, name);
  else value = new Query(req.query).get(name);
  return value === null ? "" : value;
}

function checkPart(part: string): void {
  const known = ["client-address", "method", "path", "host", "route"].includes(part);
  const colon = part.indexOf(":");
  const kind = part.substring(0, max(colon, 0));
  const named = ["header", "cookie"].includes(kind) ? Headers.isToken(part.substring(colon + 1)) : kind == "query" && part.length > 6;
  if (!known && !named) throw new Error(`config key: expected client-address, header:NAME, cookie:NAME, query:NAME, method, path, host or route, found "${part}"`);
}

function seconds(time: f64): i32 {
  return <i32>Math.ceil(max(time, 0) / 1000 - 1e-9);
}

function positive(path: string, otherwise: i32): i32 {
  const value = otherwise < 0 ? Config.int(path) : Config.int(path, otherwise);
  if (value < 1 || value > 1000000000) Config.refuse(path, "1 or more");
  return value;
}

function bits(path: string, most: i32, otherwise: i32 = most): i32 {
  const value = Config.int(path, otherwise);
  if (value < 0 || value > most) Config.refuse(path, `0 to ${most}`);
  return value;
}
