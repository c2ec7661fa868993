// Authorizes each request by a subrequest to an authorization service:
//
//     ext-auth:
//       cluster: auth              # cluster of the service
//       path: /check               # path of the subrequest; or
//       prefix: /check             # prefix for the path and query of the request
//       timeout: 1000              # milliseconds, for the service's whole response
//       send: [authorization, cookie]   # request headers to send to the service
//       upstream: [x-user]         # response headers to set for the endpoint; the client's own are dropped
//       client: [set-cookie]       # response headers to add to the response to an authorized client
//       refusal: [location, …]     # response headers to send to a rejected client, besides Content-*
//       failure: refuse            # if the service is unavailable; pass: forward the request
//       status: 503                # status of the response in that case
//
// The subrequest is a GET without a body, with X-Forwarded-Method, -Proto, -Host, -Uri and -For of the request. A status of
// 200 to 299 authorizes the request; a response of 300 to 499 is sent to the client with its body. Any other status, and no
// response in time, is a failure.

import { Config, Fetch, FetchResponse, Headers, PerInstance, Request, Response, cluster, log } from "sluice/sdk";

export const servesMany = true;

/** Limits of the subrequest. A request above them is rejected also with `failure: pass`, so that it cannot bypass the check. */
const MAX_FIELDS: i32 = 24 * 1024;
const MAX_PATH: i32 = 6 * 1024;
/** Maximum timeout in milliseconds. */
const MAX_TIMEOUT: i32 = 8000;
/** Headers that describe a body; always sent with the body of a rejection. */
const BODY_HEADERS: string[] = ["content-encoding", "content-language", "content-type"];

class Settings {
  name: string = "";
  path: string = "";
  appendsTarget: bool = false;
  timeout: i32 = 0;
  send: string[] = [];
  upstream: string[] = [];
  client: string[] = [];
  refusal: string[] = [];
  forwardsOnFailure: bool = false;
  status: i32 = 0;
}

const current = new PerInstance<Settings>();

export function configure(): void {
  Config.allow("", ["cluster", "path", "prefix", "timeout", "send", "upstream", "client", "refusal", "failure", "status"]);
  const settings = new Settings();
  settings.name = cluster(Config.string("cluster")).name;
  settings.appendsTarget = Config.has("prefix");
  if (settings.appendsTarget && Config.has("path")) Config.refuse("prefix", "either prefix or path, not both");
  settings.path = readPath(settings.appendsTarget ? "prefix" : "path");
  settings.timeout = Config.int("timeout", 1000);
  if (settings.timeout < 1 || settings.timeout > MAX_TIMEOUT) Config.refuse("timeout", `1 to ${MAX_TIMEOUT} milliseconds`);
  settings.send = readNames("send", ["authorization", "cookie"]);
  settings.upstream = readNames("upstream", []);
  settings.client = readNames("client", []);
  settings.refusal = readNames("refusal", ["cache-control", "location", "retry-after", "set-cookie", "www-authenticate"]);
  for (let i = 0; i < BODY_HEADERS.length; i++) if (!settings.refusal.includes(BODY_HEADERS[i])) settings.refusal.push(BODY_HEADERS[i]);
  const failure = Config.string("failure", "refuse");
  if (failure != "refuse" && failure != "pass") Config.refuse("failure", "refuse or pass");
  settings.forwardsOnFailure = failure == "pass";
  settings.status = Config.int("status", 503);
  if (settings.status < 400 || settings.status > 599) Config.refuse("status", "400 to 599");
  current.set(settings);
}

export function onRequest(req: Request): void {
  const settings = current.get();
  const target = req.target;
  const fields = describe(settings, req, target);
  // The endpoint must receive these headers from the service only.
  for (let i = 0; i < settings.upstream.length; i++) req.headers.own(settings.upstream[i]);
  if (target.length > MAX_PATH || sizeOf(fields) > MAX_FIELDS) {
    req.respond(target.length > MAX_PATH ? 414 : 431, "request too large for authorization\n");
    return;
  }
  // The target of `OPTIONS *` is not a path.
  const suffix = settings.appendsTarget && target != "*" ? target : "";
  const request = new Fetch(`cluster:${settings.name}${settings.path}${suffix}`).timeout(settings.timeout);
  for (let i = 0; i < fields.length; i += 2) request.header(fields[i], fields[i + 1]);
  decide(settings, req, request.send());
}

function decide(settings: Settings, req: Request, response: FetchResponse): void {
  if (response.ok) {
    for (let i = 0; i < settings.upstream.length; i++) copy(response, settings.upstream[i], req.headers);
    if (settings.client.length) storeHeaders(settings, req, response);
  } else if (response.status >= 300 && response.status <= 499) {
    const headers = req.respondBytes(response.status, response.bytes().buffer).headers;
    for (let i = 0; i < settings.refusal.length; i++) copy(response, settings.refusal[i], headers);
  } else {
    const problem = response.timedOut ? `no response within ${settings.timeout} ms` : response.status ? `status ${response.status}` : "unreachable";
    log.warn(`authorization service ${settings.name}: ${problem}`);
    if (!settings.forwardsOnFailure) req.respond(settings.status, "authorization service unavailable\n");
  }
}

export function onResponse(req: Request, res: Response): void {
  const settings = current.get();
  for (let i = 0; i < settings.client.length; i++) {
    for (let nth = 0; ; nth++) {
      const value = req.get(keyOf(settings, i, nth));
      if (value === null) break;
      res.headers.add(settings.client[i], value);
    }
  }
}

/** Stores headers of the service for `onResponse`. */
function storeHeaders(settings: Settings, req: Request, response: FetchResponse): void {
  for (let i = 0; i < settings.client.length; i++) {
    for (let nth = 0; ; nth++) {
      const value = response.nth(settings.client[i], nth);
      if (value === null) break;
      req.set(keyOf(settings, i, nth), value);
    }
  }
}

/** The key of a stored header; distinguishes several uses of this plugin in a chain. */
function keyOf(settings: Settings, field: i32, nth: i32): string {
  return `${settings.name} ${settings.path.substring(0, 100)} ${field} ${nth}`;
}

function copy(response: FetchResponse, name: string, to: Headers): void {
  for (let nth = 0; ; nth++) {
    const value = response.nth(name, nth);
    if (value === null) return;
    to.add(name, value);
  }
}

/** Headers of the subrequest: alternating names and values. */
function describe(settings: Settings, req: Request, target: string): string[] {
  const fields = [
    "x-forwarded-method", req.method,
    "x-forwarded-proto", req.scheme,
    "x-forwarded-host", req.original.authority,
    "x-forwarded-uri", target,
    "x-forwarded-for", req.clientAddress,
  ];
  for (let i = 0; i < settings.send.length; i++) {
    const values = req.headers.getAll(settings.send[i]);
    for (let k = 0; k < values.length; k++) {
      fields.push(settings.send[i]);
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
  if (!plain) Config.refuse(key, "a path that starts with /");
  // A prefix is followed by a path that starts with a slash.
  if (key == "path") return path;
  if (path.includes("?")) Config.refuse(key, "a path without a query");
  return path.endsWith("/") ? path.substring(0, path.length - 1) : path;
}

function readNames(key: string, defaults: string[]): string[] {
  const names = Config.has(key) ? Config.list(key) : defaults;
  for (let i = 0; i < names.length; i++) {
    const name = names[i].toLowerCase();
    // The service trusts X-Forwarded-*: a client must not set them.
    if (!Headers.canSet(name) || name == "host" || name.startsWith("x-forwarded-")) Config.refuse(key, `headers that may be set, not "${names[i]}"`);
  }
  return names;
}
