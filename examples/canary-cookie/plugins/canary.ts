// A filter: sends a share of the visitors to the canary; each visitor always gets the same release.
//
// The cookie has a random number from 0 to 9999 and not the release. Raising the share therefore moves only as many
// visitors as it grows by, and setting it to 0 moves everyone back.
import { cluster, Config, Cookies, randomBelow, Request, Response, SetCookie } from "sluice/sdk";

const stable = cluster("stable"), canary = cluster("canary");
const name = Config.string("cookie", "release");
const share = Config.float("percent") * 100;
const DRAWS = 10000, DAYS_30 = 2592000;

export function onRequest(req: Request): void {
  let drawn = numberOf(Cookies.get(req.headers, name));
  if (drawn < 0) {
    drawn = <i32>randomBelow(DRAWS);
    req.set("drawn", drawn.toString()); // kept for onResponse: globals are shared by all requests
  }
  req.choose(drawn < share ? canary : stable);
}

export function onResponse(req: Request, res: Response): void {
  const drawn = req.get("drawn");
  if (drawn === null) return;
  const cookie = new SetCookie(name, drawn).path("/").maxAge(DAYS_30).httpOnly().sameSite("Lax");
  res.headers.add("set-cookie", cookie.toString());
}

/** The number in the cookie, or -1 if there is no valid one: clients can send anything. */
function numberOf(text: string | null): i32 {
  if (text === null || text.length == 0 || text.length > 4) return -1;
  let value = 0;
  for (let i = 0; i < text.length; i++) {
    const digit = text.charCodeAt(i) - 48;
    if (digit < 0 || digit > 9) return -1;
    value = value * 10 + digit;
  }
  return value;
}
