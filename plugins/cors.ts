// Cross-origin resource sharing (CORS, Fetch standard): allows scripts of other origins to read responses, and responds to
// preflight requests:
//
//     cors:
//       origins: ["https://app.example.com", "https://*.example.org"]    # or ["*"]: all origins
//       methods: [GET, HEAD, POST]       # default; list others such as PUT and DELETE explicitly
//       headers: [content-type]          # allowed request headers, besides the CORS-safelisted ones; ["*"]: any
//       expose: [x-request-id]           # readable response headers, besides the CORS-safelisted ones
//       credentials: false               # true: allow cookies; not with origins ["*"]
//       maxAge: 600                      # seconds for which browsers cache the result of a preflight
//
// `*.` in an origin matches one or more labels of a host name. CORS headers of the endpoint's response are replaced.
// Preflights are not forwarded: 204, or 403 for an origin that is not allowed. Other requests are forwarded from any
// origin; the browser keeps scripts from reading the response.

import { Config, Headers, PerInstance, Request, Response, Url } from "sluice/sdk";

export const servesMany = true;

/** Maximum length of an origin and of a list of header names. */
const MAX_LENGTH: i32 = 16384;

class Settings {
  /** All origins are allowed: `access-control-allow-origin: *`. */
  any: bool = false;
  exact: string[] = [];
  /** Alternating prefix and suffix of the origins with `*`. */
  wildcards: string[] = [];
  methods: string = "";
  headers: string = "";
  anyHeader: bool = false;
  expose: string = "";
  credentials: bool = false;
  maxAge: string = "";
}

/** Response headers that this plugin sets. */
const CORS_HEADERS: StaticArray<string> = [
  "access-control-allow-origin",
  "access-control-allow-credentials",
  "access-control-allow-methods",
  "access-control-allow-headers",
  "access-control-max-age",
  "access-control-expose-headers",
];

const current = new PerInstance<Settings>();

export function configure(): void {
  Config.allow("", ["origins", "methods", "headers", "expose", "credentials", "maxAge"]);
  const settings = new Settings();
  settings.credentials = Config.bool("credentials");
  const origins = Config.list("origins");
  if (!origins.length) Config.refuse("origins", 'at least one origin, or ["*"]');
  for (let i = 0; i < origins.length; i++) readOrigin(settings, origins[i]);
  if (settings.any && settings.credentials) Config.refuse("credentials", "false with origins [\"*\"]: otherwise every site could act on behalf of the user");
  const methods = Config.has("methods") ? Config.list("methods") : ["GET", "HEAD", "POST"];
  settings.methods = readTokens("methods", methods);
  const headers = Config.list("headers");
  settings.anyHeader = headers.includes("*");
  settings.headers = settings.anyHeader ? "" : readTokens("headers", headers);
  settings.expose = readTokens("expose", Config.list("expose"));
  const maxAge = Config.int("maxAge", 600);
  if (maxAge < 0) Config.refuse("maxAge", "0 or more seconds");
  settings.maxAge = maxAge.toString();
  current.set(settings);
}

export function onRequest(req: Request): void {
  if (!req.methodIs("OPTIONS") || !req.headers.has("origin") || !req.headers.has("access-control-request-method")) return;
  const settings = current.get();
  const allowed = isAllowed(settings, req.headers.get("origin")!);
  const headers = (allowed ? req.respond(204) : req.respond(403, "origin not allowed\n")).headers;
  headers.set("vary", "origin, access-control-request-method, access-control-request-headers");
  if (!allowed) return;
  allowOrigin(settings, req, headers);
  headers.set("access-control-allow-methods", settings.methods);
  const wanted = req.headers.getAll("access-control-request-headers").join(", ");
  const names = settings.anyHeader ? wanted : settings.headers;
  if (names.length && names.length <= MAX_LENGTH) headers.set("access-control-allow-headers", names);
  headers.set("access-control-max-age", settings.maxAge);
}

/** Not called for the local response to a preflight. */
export function onResponse(req: Request, res: Response): void {
  const settings = current.get();
  for (let i = 0; i < CORS_HEADERS.length; i++) res.headers.remove(CORS_HEADERS[i]);
  // Keeps caches from reusing the response for another origin, also for requests without Origin.
  if (!settings.any && !variesByOrigin(res.headers)) res.headers.add("vary", "origin");
  const origin = req.headers.get("origin");
  if (origin === null || !isAllowed(settings, origin)) return;
  allowOrigin(settings, req, res.headers);
  if (settings.expose.length) res.headers.set("access-control-expose-headers", settings.expose);
}

function allowOrigin(settings: Settings, req: Request, headers: Headers): void {
  headers.set("access-control-allow-origin", settings.any ? "*" : req.headers.get("origin")!);
  if (settings.credentials) headers.set("access-control-allow-credentials", "true");
}

function isAllowed(settings: Settings, origin: string): bool {
  if (settings.any || settings.exact.includes(origin)) return true;
  // The origin is returned in a header, so its length is limited. No host name is that long.
  if (origin.length > MAX_LENGTH) return false;
  for (let i = 0; i < settings.wildcards.length; i += 2) {
    const prefix = settings.wildcards[i], suffix = settings.wildcards[i + 1];
    const labels = origin.length - prefix.length - suffix.length;
    if (labels > 0 && origin.startsWith(prefix) && origin.endsWith(suffix) && isLabels(origin.substr(prefix.length, labels))) return true;
  }
  return false;
}

/** Whether these are labels of a host name: `https://evil.example/.example.org` is not a subdomain. */
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

function readOrigin(settings: Settings, text: string): void {
  if (text == "*") {
    settings.any = true;
    return;
  }
  const star = text.indexOf("://*.");
  const url = Url.parse(star < 0 ? text : text.substring(0, star + 3) + text.substring(star + 5));
  const plain = star < 0 ? text : text.substring(0, star + 3) + text.substring(star + 5);
  // `null` is not accepted: any site can create a sandboxed frame with that origin.
  if (!url || url.origin != plain) throw new Error(`config origins: expected https://host, https://*.host or "*", found "${text}"`);
  if (star < 0) settings.exact.push(text);
  else {
    settings.wildcards.push(text.substring(0, star + 3));
    settings.wildcards.push(text.substring(star + 4));
  }
}

function readTokens(path: string, list: string[]): string {
  for (let i = 0; i < list.length; i++) {
    if (!Headers.isToken(list[i]) || list[i] == "*") Config.refuse(path, "a list of names (RFC 9110 tokens)");
  }
  return list.join(", ");
}
