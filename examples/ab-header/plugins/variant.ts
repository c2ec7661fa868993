// A filter: draws a variant for each visitor, tells the application by a header, and remembers it in a cookie.
import { Config, randomBelow, Request, Response } from "sluice/sdk";

const header = Config.string("header", "x-variant");
const cookie = Config.string("cookie", "variant");
const percentB = Config.int("percentB", 50);

export function onRequest(req: Request): void {
  let variant = readCookie(req);
  if (variant != "a" && variant != "b") {
    variant = randomBelow(100) < <u32>percentB ? "b" : "a";
    req.set("drawn", variant); // kept for onResponse: globals are shared by all requests
  }
  req.headers.set(header, variant);
}

export function onResponse(req: Request, res: Response): void {
  const drawn = req.get("drawn");
  if (drawn !== null) res.headers.add("set-cookie", cookie + "=" + drawn + "; Path=/; Max-Age=2592000");
}

/** The value of our cookie, or an empty string. */
function readCookie(req: Request): string {
  const pairs = req.headers.getAll("cookie").join("; ").split("; ");
  for (let i = 0; i < pairs.length; i++) {
    if (pairs[i].startsWith(cookie + "=")) return pairs[i].substring(cookie.length + 1);
  }
  return "";
}
