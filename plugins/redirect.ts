// Answers with a redirect. One of:
//
//     redirect: { https: true }                                   to https, when the client came by http
//     redirect: { host: www.example.com }                         to this host, when the client named another
//     redirect: { to: "https://{host}/new{path}{query}" }         always
//
// `https` and `host` may stand together. `status` is 301, 302 (the default), 307 or 308. In `to`, {scheme}, {host}
// (without its port), {path} and {query} (with its ?, or nothing) stand for those of the request.

import { Config, PerInstance, Request } from "sluice/sdk";

export const servesMany = true;

/** What a header's value may be at most. */
const LONGEST: i32 = 65536;

class Rule {
  status: i32 = 302;
  https: bool = false;
  host: string = "";
  /** Texts and fields of `to` in turn: 0, 2, … are texts, 1, 3, … names of fields. Empty without `to`. */
  to: string[] = [];
}

const rules = new PerInstance<Rule>();

export function configure(): void {
  Config.allow("", ["status", "https", "host", "to"]);
  const rule = new Rule();
  rule.status = Config.int("status", 302);
  if (![301, 302, 307, 308].includes(rule.status)) Config.refuse("status", "301, 302, 307 or 308");
  rule.https = Config.bool("https");
  rule.host = Config.string("host", "");
  if (Config.has("host") && !isHost(rule.host)) Config.refuse("host", "a host name, with a port or without");
  if (Config.has("to")) {
    if (rule.https || rule.host.length) Config.refuse("to", "it alone, without https and host");
    rule.to = readTemplate(Config.string("to"));
  } else if (!rule.https && !rule.host.length) Config.refuse("to", "a target; or https, or host");
  rules.set(rule);
}

export function onRequest(req: Request): void {
  const rule = rules.get();
  const location = rule.to.length ? fill(rule.to, req) : moved(rule, req);
  if (location.length > LONGEST) req.respond(414, "too long to be redirected\n");
  else if (location.length) req.respond(rule.status).headers.set("location", location);
}

/** The request's address with another scheme or host; empty when it has them already. */
function moved(rule: Rule, req: Request): string {
  const secure = rule.https && req.scheme != "https";
  const elsewhere = rule.host.length > 0 && !isAt(rule.host.toLowerCase(), req);
  if (!secure && !elsewhere) return "";
  const scheme = rule.https ? "https" : req.scheme;
  return `${scheme}://${rule.host.length ? rule.host : req.original.host}${pathOf(req)}${query(req)}`;
}

/** Whether the client named this host; without a port it is so at any. */
function isAt(host: string, req: Request): bool {
  return req.original.authority.toLowerCase() == host || req.original.host.toLowerCase() == host;
}

function fill(template: string[], req: Request): string {
  let location = "";
  for (let i = 0; i < template.length; i++) location += i & 1 ? field(template[i], req) : template[i];
  // `//evil.example` would leave this site: a path may begin with two slashes, a Location must not.
  let slashes = 0;
  while (slashes < location.length && (location.charCodeAt(slashes) == 0x2f || location.charCodeAt(slashes) == 0x5c)) slashes++;
  return slashes > 1 ? "/" + location.substring(slashes) : location;
}

function field(name: string, req: Request): string {
  if (name == "scheme") return req.scheme;
  if (name == "host") return req.original.host;
  return name == "path" ? pathOf(req) : query(req);
}

/** Of `OPTIONS *` none: a URL without a path means the same there (RFC 9112 section 3.2.4). */
function pathOf(req: Request): string {
  const path = req.path;
  return path == "*" ? "" : path;
}

function query(req: Request): string {
  const text = req.query;
  return text.length ? "?" + text : "";
}

function readTemplate(text: string): string[] {
  const begins = text.startsWith("/") || text.startsWith("{path}") || text.startsWith("{scheme}://");
  if (!begins && !text.startsWith("https://") && !text.startsWith("http://")) Config.refuse("to", "a target that begins with /, https://, http://, {path} or {scheme}://");
  const parts: string[] = [];
  let from = 0;
  while (true) {
    const open = text.indexOf("{", from);
    parts.push(checkText(text.substring(from, open < 0 ? text.length : open)));
    if (open < 0) return parts;
    const close = text.indexOf("}", open);
    const name = close < 0 ? "" : text.substring(open + 1, close);
    if (!["scheme", "host", "path", "query"].includes(name)) Config.refuse("to", "only {scheme}, {host}, {path} and {query} in braces");
    parts.push(name);
    from = close + 1;
  }
  return parts;
}

function checkText(text: string): string {
  for (let i = 0; i < text.length; i++) {
    if (text.charCodeAt(i) <= 32 || text.charCodeAt(i) > 126) Config.refuse("to", "printable ASCII without spaces");
  }
  return text;
}

function isHost(text: string): bool {
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i) | 32;
    const letter = unit >= 0x61 && unit <= 0x7a;
    const digit = unit >= 0x30 && unit <= 0x39;
    if (!letter && !digit && !"-.:[]_".includes(text.charAt(i))) return false;
  }
  return text.length > 0;
}
