// Tells browsers which other sites may read answers (CORS, in the Fetch standard), and answers their preflights:
//
//     cors:
//       origins: ["https://app.example.com", "https://*.example.org"]    # or ["*"]: every site
//       methods: [GET, HEAD, POST]       # the default; PUT, DELETE and others must be named
//       headers: [content-type]          # of requests, beyond those that need no leave; ["*"]: any
//       expose: [x-request-id]           # of answers, beyond those that scripts see anyway
//       credentials: false               # true: with cookies; then origins cannot be ["*"]
//       maxAge: 600                      # seconds for which a browser remembers a preflight
//
// `*.` in an origin stands for one or more labels of a host. What an upstream says about CORS itself is dropped: two
// voices make one wrong answer. A preflight never reaches the upstream: 204, or 403 from a site that is not allowed.
// Requests of other sites are not refused: it is the browser that keeps their answers from scripts.

import { Config, Headers, PerInstance, Request, Response, Url } from "sluice/sdk";

export const servesMany = true;

/** What an origin and a list of header names may be at most: longer ones are not allowed. */
const LONGEST: i32 = 16384;

class Rule {
  /** Every site, and the same answer for all. */
  any: bool = false;
  exact: string[] = [];
  /** What stands before and behind the `*` of an origin, in turn. */
  halves: string[] = [];
  methods: string = "";
  headers: string = "";
  anyHeader: bool = false;
  expose: string = "";
  credentials: bool = false;
  maxAge: string = "";
}

const OWN: StaticArray<string> = [
  "access-control-allow-origin",
  "access-control-allow-credentials",
  "access-control-allow-methods",
  "access-control-allow-headers",
  "access-control-max-age",
  "access-control-expose-headers",
];

const rules = new PerInstance<Rule>();

export function configure(): void {
  Config.allow("", ["origins", "methods", "headers", "expose", "credentials", "maxAge"]);
  const rule = new Rule();
  rule.credentials = Config.bool("credentials");
  const origins = Config.list("origins");
  if (!origins.length) Config.refuse("origins", 'a list of origins, or ["*"]');
  for (let i = 0; i < origins.length; i++) readOrigin(rule, origins[i]);
  if (rule.any && rule.credentials) Config.refuse("credentials", "false with every origin, or any site could act as its visitors");
  const methods = Config.has("methods") ? Config.list("methods") : ["GET", "HEAD", "POST"];
  rule.methods = readTokens("methods", methods);
  const headers = Config.list("headers");
  rule.anyHeader = headers.includes("*");
  rule.headers = rule.anyHeader ? "" : readTokens("headers", headers);
  rule.expose = readTokens("expose", Config.list("expose"));
  const maxAge = Config.int("maxAge", 600);
  if (maxAge < 0) Config.refuse("maxAge", "seconds, 0 or more");
  rule.maxAge = maxAge.toString();
  rules.set(rule);
}

export function onRequest(req: Request): void {
  if (!req.methodIs("OPTIONS") || !req.headers.has("origin") || !req.headers.has("access-control-request-method")) return;
  const rule = rules.get();
  const allowed = isAllowed(rule, req.headers.get("origin")!);
  const headers = (allowed ? req.respond(204) : req.respond(403, "not from this origin\n")).headers;
  headers.set("vary", "origin, access-control-request-method, access-control-request-headers");
  if (!allowed) return;
  allowOrigin(rule, req, headers);
  headers.set("access-control-allow-methods", rule.methods);
  const wanted = req.headers.getAll("access-control-request-headers").join(", ");
  const names = rule.anyHeader ? wanted : rule.headers;
  if (names.length && names.length <= LONGEST) headers.set("access-control-allow-headers", names);
  headers.set("access-control-max-age", rule.maxAge);
}

/** Not called for an answer of its own. */
export function onResponse(req: Request, res: Response): void {
  const rule = rules.get();
  for (let i = 0; i < OWN.length; i++) res.headers.remove(OWN[i]);
  // A cache must not give one site's answer to another; that holds for those without an Origin as well.
  if (!rule.any && !variesByOrigin(res.headers)) res.headers.add("vary", "origin");
  const origin = req.headers.get("origin");
  if (origin === null || !isAllowed(rule, origin)) return;
  allowOrigin(rule, req, res.headers);
  if (rule.expose.length) res.headers.set("access-control-expose-headers", rule.expose);
}

function allowOrigin(rule: Rule, req: Request, headers: Headers): void {
  headers.set("access-control-allow-origin", rule.any ? "*" : req.headers.get("origin")!);
  if (rule.credentials) headers.set("access-control-allow-credentials", "true");
}

function isAllowed(rule: Rule, origin: string): bool {
  if (rule.any || rule.exact.includes(origin)) return true;
  // It is told back in a header: no host has such a name.
  if (origin.length > LONGEST) return false;
  for (let i = 0; i < rule.halves.length; i += 2) {
    const before = rule.halves[i], behind = rule.halves[i + 1];
    const labels = origin.length - before.length - behind.length;
    if (labels > 0 && origin.startsWith(before) && origin.endsWith(behind) && isLabels(origin.substr(before.length, labels))) return true;
  }
  return false;
}

/** Names of hosts only: `https://evil.example/.example.org` is no subdomain. */
function isLabels(text: string): bool {
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    const letter = unit >= 0x61 && unit <= 0x7a;
    const digit = unit >= 0x30 && unit <= 0x39;
    if (!letter && !digit && unit != 0x2d && unit != 0x2e && unit != 0x5f) return false;
  }
  return true;
}

function variesByOrigin(headers: Headers): bool {
  const names = headers.getAll("vary").join(",").split(",");
  for (let i = 0; i < names.length; i++) {
    const name = names[i].trim().toLowerCase();
    if (name == "origin" || name == "*") return true;
  }
  return false;
}

function readOrigin(rule: Rule, text: string): void {
  if (text == "*") {
    rule.any = true;
    return;
  }
  const star = text.indexOf("://*.");
  const url = Url.parse(star < 0 ? text : text.substring(0, star + 3) + text.substring(star + 5));
  const plain = star < 0 ? text : text.substring(0, star + 3) + text.substring(star + 5);
  // `null` is the origin of sandboxed frames and local files: of anyone's.
  if (!url || url.origin != plain) throw new Error(`config origins: expected https://host, https://*.host or "*", found "${text}"`);
  if (star < 0) rule.exact.push(text);
  else {
    rule.halves.push(text.substring(0, star + 3));
    rule.halves.push(text.substring(star + 4));
  }
}

function readTokens(path: string, list: string[]): string {
  for (let i = 0; i < list.length; i++) {
    if (!Headers.isToken(list[i]) || list[i] == "*") Config.refuse(path, "a list of names");
  }
  return list.join(", ");
}
