// Rewrites the path; the query stays. One of:
//
//     rewrite: { strip: /api }                   /api/users → /users, /api → /
//     rewrite: { replace: /old, with: /new }     /old/users → /new/users
//     rewrite: { prepend: /v1 }                  /users → /v1/users
//     rewrite: { path: /index.html }             every path
//
// `strip` and `replace` match whole segments: /api does not match /apiary. What does not match is left as it is.

import { Config, PerInstance, Request } from "sluice/sdk";

export const servesMany = true;

/** What a path may be at most. */
const LONGEST: i32 = 65536;

class Rule {
  constructor(
    /** What the path must begin with; empty: anything. */
    readonly prefix: string,
    /** What takes the prefix's place. */
    readonly replacement: string,
    /** The replacement is the path. */
    readonly whole: bool,
  ) {}
}

const rules = new PerInstance<Rule>();

export function configure(): void {
  Config.allow("", ["strip", "replace", "with", "prepend", "path"]);
  const ways = i32(Config.has("strip")) + i32(Config.has("replace")) + i32(Config.has("prepend")) + i32(Config.has("path"));
  if (ways != 1) throw new Error(`config: expected one of strip, replace, prepend and path, found ${ways}`);
  if (Config.has("with") && !Config.has("replace")) Config.refuse("with", "`replace` beside it");
  if (Config.has("strip")) rules.set(new Rule(readPath("strip"), "", false));
  else if (Config.has("replace")) rules.set(new Rule(readPath("replace"), readPath("with"), false));
  else if (Config.has("prepend")) rules.set(new Rule("", readPath("prepend"), false));
  else rules.set(new Rule("", readPath("path"), true));
}

export function onRequest(req: Request): void {
  const rule = rules.get();
  if (rule.whole) {
    // `OPTIONS *` has no path.
    if (req.pathIs("*")) return;
    req.path = rule.replacement;
    return;
  }
  const prefix = rule.prefix;
  if (prefix.length && !req.pathStartsWith(prefix)) return;
  const rest = req.path.substring(prefix.length);
  if (rest.length && !rest.startsWith("/")) return;
  const path = rule.replacement + rest;
  if (path.length > LONGEST) req.respond(414, "too long to be rewritten\n");
  else req.path = path.length ? path : "/";
}

/** A path without a slash at its end, so that what follows begins with one; `path` may have it. */
function readPath(key: string): string {
  const path = Config.string(key);
  if (!path.startsWith("/")) Config.refuse(key, "a path that begins with /");
  for (let i = 0; i < path.length; i++) {
    const unit = path.charCodeAt(i);
    if (unit <= 32 || unit > 126 || unit == 0x3f /* ? */ || unit == 0x23 /* # */) Config.refuse(key, "a path of printable ASCII without ? and #");
  }
  return key != "path" && path.endsWith("/") ? path.substring(0, path.length - 1) : path;
}
