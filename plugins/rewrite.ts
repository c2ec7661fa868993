// Rewrites the path; the query is unchanged. One of:
//
//     rewrite: { strip: /api }                   /api/users → /users, /api → /
//     rewrite: { replace: /old, with: /new }     /old/users → /new/users
//     rewrite: { prepend: /v1 }                  /users → /v1/users
//     rewrite: { path: /index.html }             every path
//
// `strip` and `replace` match whole segments: /api does not match /apiary. A path that does not match is unchanged.

import { Config, PerInstance, Request } from "sluice/sdk";

export const servesMany = true;

/** Maximum length of a path. */
const MAX_PATH: i32 = 65536;

class Settings {
  constructor(
    /** Required prefix of the path; empty: any path. */
    readonly prefix: string,
    /** Replacement for the prefix. */
    readonly replacement: string,
    /** Whether the replacement is the whole path. */
    readonly whole: bool,
  ) {}
}

const current = new PerInstance<Settings>();

export function configure(): void {
  Config.allow("", ["strip", "replace", "with", "prepend", "path"]);
  const count = i32(Config.has("strip")) + i32(Config.has("replace")) + i32(Config.has("prepend")) + i32(Config.has("path"));
  if (count != 1) throw new Error(`config: expected exactly one of strip, replace, prepend and path, found ${count}`);
  if (Config.has("with") && !Config.has("replace")) Config.refuse("with", "replace together with it");
  if (Config.has("strip")) current.set(new Settings(readPath("strip"), "", false));
  else if (Config.has("replace")) current.set(new Settings(readPath("replace"), readPath("with"), false));
  else if (Config.has("prepend")) current.set(new Settings("", readPath("prepend"), false));
  else current.set(new Settings("", readPath("path"), true));
}

export function onRequest(req: Request): void {
  const settings = current.get();
  if (settings.whole) {
    // `OPTIONS *` has no path.
    if (req.pathIs("*")) return;
    req.path = settings.replacement;
    return;
  }
  const prefix = settings.prefix;
  if (prefix.length && !req.pathStartsWith(prefix)) return;
  const rest = req.path.substring(prefix.length);
  if (rest.length && !rest.startsWith("/")) return;
  const path = settings.replacement + rest;
  if (path.length > MAX_PATH) req.respond(414, "path too long after rewriting\n");
  else req.path = path.length ? path : "/";
}

/** Reads a path. A trailing slash is removed, except for `path`, since the rest of the path starts with one. */
function readPath(key: string): string {
  const path = Config.string(key);
  if (!path.startsWith("/")) Config.refuse(key, "a path that starts with /");
  for (let i = 0; i < path.length; i++) {
    const unit = path.charCodeAt(i);
    if (unit <= 32 || unit > 126 || unit == 0x3f /* ? */ || unit == 0x23 /* # */) Config.refuse(key, "a path of printable ASCII without ? and #");
  }
  return key != "path" && path.endsWith("/") ? path.substring(0, path.length - 1) : path;
}
