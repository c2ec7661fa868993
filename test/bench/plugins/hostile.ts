// Does to its host what it should not; `does` says what.
import { Config, Request, histogram, kv, log } from "sluice/sdk";

const does = Config.string("does");
const space = kv("flood");
const observed = histogram("flood_seconds");
const block = new StaticArray<u8>(32 * 1024);
const PAGE: i32 = 65536;
let count: i32 = 0;

export function onRequest(req: Request): void {
  if (does == "loops") loop(i32.MAX_VALUE);
  else if (does == "burns") loop(400000);
  else if (does == "recurses") descend(1);
  else if (does == "grows") grow();
  else if (does == "throws") throw new Error("always");
  else if (does == "floods the log") for (let i = 0; i < 1000; i++) log.warn("again, and again, and again, and again");
  else if (does == "floods key-value") for (let i = 0; i < 100; i++) space.setBytes((++count).toString(), block);
  else if (does == "floods metrics") for (let i = 0; i < 5000; i++) observed.observe(i);
}

function loop(turns: i32): void {
  for (let i = 0; i < turns; i++) count = count * 31 + i;
}

function descend(depth: i32): i32 {
  return depth + descend(depth + 1) * count;
}

/** All that there is, and writes to it. */
function grow(): void {
  for (let from = memory.grow(16); from >= 0; from = memory.grow(16)) memory.fill(<usize>from * PAGE, 1, 16 * PAGE);
  unreachable();
}
