// A router: an identified user always gets the same version; for others it passes to the next route.
import { cluster, Cluster, Config, Request } from "sluice/sdk";

const stable = cluster("stable"), canary = cluster("canary");
const percent = Config.int("percent");
if (percent < 0 || percent > 100) Config.refuse("percent", "a number from 0 to 100");

export function route(req: Request): Cluster | null {
  if (req.headers.is("x-canary", "always")) return canary;
  if (req.headers.is("x-canary", "never")) return stable;
  const user = req.headers.get("x-user");
  if (user === null) return null;
  return hash(user) % 100 < <u32>percent ? canary : stable;
}

/** FNV-1a, then mixed, so that users whose names differ only in the last letter are distributed too. */
function hash(text: string): u32 {
  let h: u32 = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) h = (h ^ <u32>text.charCodeAt(i)) * 0x01000193;
  h ^= h >> 16;
  h *= 0x85ebca6b;
  return h ^ (h >> 13);
}
