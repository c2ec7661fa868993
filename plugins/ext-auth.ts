// Asks a service of yours about each request before it goes on: whether it may, and who sent it.
//
//     ext-auth:
//       cluster: auth              # whom to ask; the one cluster that it may send requests to
//       path: /check               # where; or
//       prefix: /check             # this, and the request's own path and query behind it
//       timeout: 1000              # milliseconds, for the service's whole answer
//       send: [authorization, cookie]   # fields of the request that the service sees
//       upstream: [x-user]         # fields of its answer for the upstream; what a client sends there is dropped
//       client: [set-cookie]       # fields of its answer for a client that was let in
//       refusal: [location, …]     # fields of its answer for a client that was not, beside those of its body's form
//       failure: refuse            # pass: what the service cannot be asked about goes on
//       status: 503                # what a client gets when the service does not answer
//
// It sends a GET without a body, with X-Forwarded-Method, -Proto, -Host, -Uri and -For of the request. 200 to 299 lets
// the request in; 300 to 499 is passed on to the client, with its body. Anything else, and none in time, is a failure.

import { Config, Fetch, Fetched, Headers, PerInstance, Request, Response, cluster, log } from "sluice/sdk";

export const servesMany = true;

/** A request's fields must not be so many that they cannot be asked about: with `failure: pass` that would let it in. */
const MOST_FIELDS: i32 = 24 * 1024;
const MOST_PATH: i32 = 6 * 1024;
const LONGEST: i32 = 8000;
/** What says how a body is to be read goes with it, whatever else of a refusal is passed on. */
const OF_BODY: string[] = ["content-encoding", "content-language", "content-type"];

class Rule {
  name: string = "";
  path: string = "";
  appends: bool = false;
  timeout: i32 = 0;
  send: string[] = [];
  upstream: string[] = [];
  client: string[] = [];
  refusal: string[] = [];
  passes: bool = false;
  status: i32 = 0;
}

const rules = new PerInstance<Rule>();

export function configure(): void {
  Config.allow("", ["cluster", "path", "prefix", "timeout", "send", "upstream", "client", "refusal", "failure", "status"]);
  const rule = new Rule();
  rule.name = cluster(Config.string("cluster")).name;
  rule.appends = Config.has("prefix");
  if (rule.appends && Config.has("path")) Config.refuse("prefix", "it alone, without path");
  rule.path = readPath(rule.appends ? "prefix" : "path");
  rule.timeout = Config.int("timeout", 1000);
  if (rule.timeout < 1 || rule.timeout > LONGEST) Config.refuse("timeout", `1 to ${LONGEST} milliseconds`);
  rule.send = readNames("send", ["authorization", "cookie"]);
  rule.upstream = readNames("upstream", []);
  rule.client = readNames("client", []);
  rule.refusal = readNames("refusal", ["cache-control", "location", "retry-after", "set-cookie", "www-authenticate"]);
  for (let i = 0; i < OF_BODY.length; i++) if (!rule.refusal.includes(OF_BODY[i])) rule.refusal.push(OF_BODY[i]);
  const failure = Config.string("failure", "refuse");
  if (failure != "refuse" && failure != "pass") Config.refuse("failure", "refuse or pass");
  rule.passes = failure == "pass";
  rule.status = Config.int("status", 503);
  if (rule.status < 400 || rule.status > 599) Config.refuse("status", "400 to 599");
  rules.set(rule);
}

export function onRequest(req: Request): void {
  const rule = rules.get();
  const target = req.target;
  const fields = describe(rule, req, target);
  // Whatever comes of it, the upstream reads these from the service, or from nobody.
  for (let i = 0; i < rule.upstream.length; i++) req.headers.own(rule.upstream[i]);
  if (target.length > MOST_PATH || sizeOf(fields) > MOST_FIELDS) {
    req.respond(target.length > MOST_PATH ? 414 : 431, "too large to be authorized\n");
    return;
  }
  // `OPTIONS *` asks for no path.
  const behind = rule.appends && target != "*" ? target : "";
  const request = new Fetch(`cluster:${rule.name}${rule.path}${behind}`).timeout(rule.timeout);
  for (let i = 0; i < fields.length; i += 2) request.header(fields[i], fields[i + 1]);
  decide(rule, req, request.send());
}

function decide(rule: Rule, req: Request, answer: Fetched): void {
  if (answer.ok) {
    for (let i = 0; i < rule.upstream.length; i++) copy(answer, rule.upstream[i], req.headers);
    if (rule.client.length) keep(rule, req, answer);
  } else if (answer.status >= 300 && answer.status <= 499) {
    const headers = req.respondBytes(answer.status, answer.bytes().buffer).headers;
    for (let i = 0; i < rule.refusal.length; i++) copy(answer, rule.refusal[i], headers);
  } else {
    const what = answer.timedOut ? `within ${rule.timeout} ms` : answer.status ? `but by ${answer.status}` : "at all";
    log.warn(`cluster ${rule.name} did not answer ${what}`);
    if (!rule.passes) req.respond(rule.status, "cannot be authorized now\n");
  }
}

export function onResponse(req: Request, res: Response): void {
  const rule = rules.get();
  for (let i = 0; i < rule.client.length; i++) {
    for (let nth = 0; ; nth++) {
      const value = req.get(keyOf(rule, i, nth));
      if (value === null) break;
      res.headers.add(rule.client[i], value);
    }
  }
}

/** What the service said to the client waits for the upstream's answer. */
function keep(rule: Rule, req: Request, answer: Fetched): void {
  for (let i = 0; i < rule.client.length; i++) {
    for (let nth = 0; ; nth++) {
      const value = answer.nth(rule.client[i], nth);
      if (value === null) break;
      req.set(keyOf(rule, i, nth), value);
    }
  }
}

/** A chain may ask two services. */
function keyOf(rule: Rule, field: i32, nth: i32): string {
  return `${rule.name} ${rule.path.substring(0, 100)} ${field} ${nth}`;
}

function copy(answer: Fetched, name: string, to: Headers): void {
  for (let nth = 0; ; nth++) {
    const value = answer.nth(name, nth);
    if (value === null) return;
    to.add(name, value);
  }
}

/** Names and values in turn: what the service is told of the request. */
function describe(rule: Rule, req: Request, target: string): string[] {
  const fields = [
    "x-forwarded-method", req.method,
    "x-forwarded-proto", req.scheme,
    "x-forwarded-host", req.original.authority,
    "x-forwarded-uri", target,
    "x-forwarded-for", req.clientAddress,
  ];
  for (let i = 0; i < rule.send.length; i++) {
    const values = req.headers.getAll(rule.send[i]);
    for (let k = 0; k < values.length; k++) {
      fields.push(rule.send[i]);
      fields.push(values[k]);
    }
  }
  return fields;
}

function sizeOf(fields: string[]): i32 {
  let size = 0;
  for (let i = 0; i < fields.length; i++) size += fields[i].length + 2;
  return size;
}

function readPath(key: string): string {
  const path = Config.string(key, "/");
  let plain = path.startsWith("/") && path.length <= 1024;
  for (let i = 0; i < path.length; i++) {
    const unit = path.charCodeAt(i);
    if (unit <= 0x20 || unit >= 0x7f || unit == 0x23) plain = false;
  }
  if (!plain) Config.refuse(key, "a path that begins with /");
  // The request's own path begins with one.
  if (key == "path") return path;
  if (path.includes("?")) Config.refuse(key, "a path without a query");
  return path.endsWith("/") ? path.substring(0, path.length - 1) : path;
}

function readNames(key: string, usual: string[]): string[] {
  const names = Config.has(key) ? Config.list(key) : usual;
  for (let i = 0; i < names.length; i++) {
    const name = names[i].toLowerCase();
    // The service believes what it is told of the request.
    if (!Headers.canSet(name) || name == "host" || name.startsWith("x-forwarded-")) Config.refuse(key, `headers that may be set, not "${names[i]}"`);
  }
  return names;
}
