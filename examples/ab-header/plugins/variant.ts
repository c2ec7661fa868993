// A filter: assigns a random variant to each visitor, sends it to the application in a header, and stores it in a cookie.
import { Config, Cookies, randomBelow, Request, Response, SetCookie } from "sluice/sdk";

const header = Config.string("header", "x-variant");
const cookie = Config.string("cookie", "variant");
const percentB = Config.int("percentB", 50);

export function onRequest(req: Request): void {
  let variant = Cookies.get(req.headers, cookie) || "";
  if (variant != "a" && variant != "b") {
    variant = randomBelow(100) < <u32>percentB ? "b" : "a";
    req.set("drawn", variant); // kept for onResponse: globals are shared by all requests
  }
  req.headers.set(header, variant);
}

export function onResponse(req: Request, res: Response): void {
  const drawn = req.get("drawn");
  if (drawn !== null) res.headers.add("set-cookie", new SetCookie(cookie, drawn).path("/").maxAge(2592000).toString());
}
