// One kind of host call for each request: `does` says which. What it costs beside a hook that does nothing.
import { Config, Request, Response, counter, hmacSha256, kv, sha256, toUtf8 } from "sluice/sdk";

const KINDS = ["kv get", "kv set", "kv increment", "metric", "digest", "hmac", "shared", "header"];
const kind = KINDS.indexOf(Config.string("does"));
const space = kv("bench");
const counted = counter("bench_total");
const data = toUtf8("session=8f14e45fceea167a5a36dedd4bea2543; user=1048576; at=2026");
const key = toUtf8("0123456789abcdef0123456789abcdef");

// What is read is there.
export function onResponse(req: Request, res: Response): void {
  space.set("session", "8f14e45fceea167a5a36dedd4bea2543");
  req.share("tenant", "acme");
}

export function onRequest(req: Request): void {
  let found = true;
  switch (kind) {
    case 0:
      found = space.get("session") !== null;
      break;
    case 1:
      space.set("session", "8f14e45fceea167a5a36dedd4bea2543");
      break;
    case 2:
      found = space.increment("count") > 0;
      break;
    case 3:
      counted.add();
      break;
    case 4:
      found = sha256(data).length == 32;
      break;
    case 5:
      found = hmacSha256(key, data).length == 32;
      break;
    case 6:
      found = req.shared("tenant") !== null;
      break;
    case 7:
      found = req.headers.get("x-beta") !== null;
      break;
    default:
      found = false;
  }
  if (!found) throw new Error("nothing was found");
}
