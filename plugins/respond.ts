// Responds to every request, without an endpoint:
//
//     respond: { status: 503, body: "back at noon\n", headers: { retry-after: "3600" } }
//
// `status` is 200 (default) to 599. The body is text of UTF-8, with `content-type: text/plain; charset=utf-8` unless
// `headers` has another; 204, 205 and 304 have none. A value of `headers` may be a list. gRPC calls get a gRPC status.

import { Config, Headers, PerInstance, Request } from "sluice/sdk";

export const servesMany = true;

/** Maximum size of a body: it is copied for each request. */
const MAX_BODY: i32 = 65536;

class Settings {
  body: ArrayBuffer = new ArrayBuffer(0);
  names: string[] = [];
  values: string[] = [];

  constructor(readonly status: i32) {}

  has(name: string): bool {
    return this.names.includes(name);
  }

  add(name: string, value: string): void {
    this.names.push(name);
    this.values.push(value);
  }
}

const current = new PerInstance<Settings>();

export function configure(): void {
  Config.allow("", ["status", "body", "headers"]);
  const status = Config.int("status", 200);
  if (status < 200 || status > 599) Config.refuse("status", "200 to 599");
  const settings = new Settings(status);
  readHeaders(settings);
  if ([301, 302, 303, 307, 308].includes(status) && !settings.has("location")) Config.refuse("status", "a `location` in headers with this status, or `redirect`");
  readBody(settings);
  current.set(settings);
}

export function onRequest(req: Request): void {
  const settings = current.get();
  const headers = req.respondBytes(settings.status, settings.body).headers;
  for (let i = 0; i < settings.names.length; i++) headers.add(settings.names[i], settings.values[i]);
}

function readBody(settings: Settings): void {
  const body = Config.string("body", "");
  if (!body.length) return;
  if ([204, 205, 304].includes(settings.status)) Config.refuse("body", `no body with status ${settings.status}`);
  settings.body = String.UTF8.encode(body);
  if (settings.body.byteLength > MAX_BODY) throw new Error(`config body: ${settings.body.byteLength} bytes, expected at most ${MAX_BODY}`);
  if (!settings.has("content-type")) settings.add("content-type", "text/plain; charset=utf-8");
}

function readHeaders(settings: Settings): void {
  const names = Config.keys("headers");
  for (let i = 0; i < names.length; i++) {
    const name = names[i].toLowerCase();
    if (!Headers.canSet(name) || name == "host") Config.refuse("headers", `headers that may be set, not "${names[i]}"`);
    const at = Config.join("headers", names[i]);
    const values = Config.list(at);
    for (let k = 0; k < values.length; k++) {
      if (!Headers.isValue(values[k])) Config.refuse(at, "a header value of printable ASCII");
      settings.add(name, values[k]);
    }
  }
}
