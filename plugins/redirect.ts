// Responds with a redirect. One of:
//
//     redirect: { https: true }                                   to https, if the client used http
//     redirect: { host: www.example.com }                         to this host, if the client used another
//     redirect: { to: "https://{host}/new{path}{query}" }         always, to this target
//
// `https` and `host` can be combined. `status` is 301, 302 (default), 307 or 308. In `to`, {scheme}, {host} (without the
// port), {path} and {query} (with `?` unless empty) are replaced by those of the request.

import { Config, IpAddress, PerInstance, Request } from "sluice/sdk";

export const servesMany = true;

/** Maximum length of a Location. */
const MAX_LOCATION: i32 = 65536;

class Settings {
  status: i32 = 302;
  https: bool = false;
  host: string = "";
  /** `host` in normal form without its port; empty without `host`. */
  name: string = "";
  /** The port in `host`; -1: none, which any port matches. */
  port: i32 = -1;
  /** The parts of `to`: alternating texts (0, 2, …) and names in braces (1, 3, …). Empty without `to`. */
  to: string[] = [];
  /** The target contains the host of the request. */
  needsHost: bool = false;
}

const current = new PerInstance<Settings>();

export function configure(): void {
  Config.allow("", ["status", "https", "host", "to"]);
  const settings = new Settings();
  settings.status = Config.int("status", 302);
  if (![301, 302, 307, 308].includes(settings.status)) Config.refuse("status", "301, 302, 307 or 308");
  settings.https = Config.bool("https");
  settings.host = Config.string("host", "");
  if (Config.has("host") && !readHost(settings.host, settings)) Config.refuse("host", "a host name, with or without a port");
  if (Config.has("to")) {
    if (settings.https || settings.host.length) Config.refuse("to", "either to, or https and host, not both");
    settings.to = readTemplate(Config.string("to"));
  } else if (!settings.https && !settings.host.length) Config.refuse("to", "one of to, https and host");
  settings.needsHost = Config.has("to") ? Config.string("to").includes("{host}") : !settings.host.length;
  current.set(settings);
}

export function onRequest(req: Request): void {
  const settings = current.get();
  const location = settings.to.length ? expand(settings.to, req) : locate(settings, req);
  if (!location.length) return;
  // Browsers read `https:///a` as `https://a`, another site.
  if (settings.needsHost && !req.original.host.length) req.respond(400, "no Host for the redirect\n");
  else if (location.length > MAX_LOCATION) req.respond(414, "target too long for a redirect\n");
  else req.respond(settings.status).headers.set("location", location);
}

/** The request's URL with the configured scheme and host; empty if it has them already. */
function locate(settings: Settings, req: Request): string {
  const changesScheme = settings.https && req.scheme != "https";
  const changesHost = settings.host.length > 0 && !isAt(settings, req);
  if (!changesScheme && !changesHost) return "";
  const scheme = settings.https ? "https" : req.scheme;
  return `${scheme}://${settings.host.length ? settings.host : req.original.host}${pathOf(req)}${query(req)}`;
}

/** Whether the client used the configured host. Clients leave out the default port of the scheme. */
function isAt(settings: Settings, req: Request): bool {
  const host = req.original.host;
  if (normalize(host) != settings.name) return false;
  if (settings.port < 0) return true;
  const port = req.original.authority.substring(host.length + 1);
  const used = port.length ? <i32>parseInt(port) : req.scheme == "https" ? 443 : 80;
  return used == settings.port;
}

/** The host as most clients send it: in lower case, without a dot at its end, an IPv6 address as in RFC 5952. */
function normalize(host: string): string {
  if (host.startsWith("[")) {
    const address = IpAddress.parse(host.substring(1, host.length - 1));
    if (address) return `[${address.toString()}]`;
  }
  const lower = host.toLowerCase();
  return lower.endsWith(".") ? lower.substring(0, lower.length - 1) : lower;
}

function expand(template: string[], req: Request): string {
  let location = "";
  for (let i = 0; i < template.length; i++) location += i & 1 ? field(template[i], req) : template[i];
  // A path may start with two slashes, but `Location: //evil.example` would lead to another site.
  let slashes = 0;
  while (slashes < location.length && (location.charCodeAt(slashes) == 0x2f || location.charCodeAt(slashes) == 0x5c)) slashes++;
  return slashes > 1 ? "/" + location.substring(slashes) : location;
}

function field(name: string, req: Request): string {
  if (name == "scheme") return req.scheme;
  if (name == "host") return req.original.host;
  return name == "path" ? pathOf(req) : query(req);
}

/** The path; empty for `OPTIONS *`, which is a URL without a path (RFC 9112 section 3.2.4). */
function pathOf(req: Request): string {
  const path = req.path;
  return path == "*" ? "" : path;
}

function query(req: Request): string {
  const text = req.query;
  return text.length ? "?" + text : "";
}

function readTemplate(text: string): string[] {
  const isUrl = text.startsWith("/") || text.startsWith("{path}") || text.startsWith("{scheme}://");
  if (!isUrl && !text.startsWith("https://") && !text.startsWith("http://")) Config.refuse("to", "a target that starts with /, https://, http://, {path} or {scheme}://");
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

/** Reads a name or an IPv4 address, or an IPv6 address in brackets, with or without a port. False: it is none. */
function readHost(text: string, settings: Settings): bool {
  const isIpv6 = text.startsWith("[");
  const close = text.indexOf(isIpv6 ? "]" : ":");
  if (isIpv6 && close < 0) return false;
  const end = close < 0 ? text.length : isIpv6 ? close + 1 : close;
  settings.name = normalize(text.substring(0, end));
  const isName = isIpv6 ? IpAddress.parse(text.substring(1, close)) !== null : isNameOrIpv4(settings.name);
  if (end == text.length) return isName;
  const port = text.substring(end + 1);
  if (text.charAt(end) != ":" || !port.length || port.length > 5 || !consistsOf(port, "", false)) return false;
  settings.port = <i32>parseInt(port);
  return isName && settings.port > 0 && settings.port <= 65535;
}

/** Clients read a name whose last label is a number as an IPv4 address, of which they accept other forms. */
function isNameOrIpv4(name: string): bool {
  const last = name.substring(name.lastIndexOf(".") + 1);
  const isNumber = consistsOf(last, "", false) || (last.startsWith("0x") && consistsOf(last.substring(2), "", true));
  return name.length > 0 && consistsOf(name, "-._", true) && (!isNumber || IpAddress.parse(name) !== null);
}

/** Whether the text has no other characters than digits, letters if `letters`, and `others`. */
function consistsOf(text: string, others: string, letters: bool): bool {
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i) | 32;
    const isLetter = letters && unit >= 0x61 && unit <= 0x7a;
    const isDigit = unit >= 0x30 && unit <= 0x39 && text.charCodeAt(i) >= 0x30;
    if (!isLetter && !isDigit && !others.includes(text.charAt(i))) return false;
  }
  return true;
}
