// Of a reload after another: it counts, keeps state in the store, and hands on how often it was replaced.
import { Config, Request, Response, State, counter, kv } from "sluice/sdk";

const BUILD = "a";
const turn = Config.string("turn");
const space = kv("soak");
const served = counter("soak_requests_total");
let replaced: i32 = 0;

export function onRequest(req: Request): void {
  served.add();
  space.increment("requests");
}

export function onResponse(req: Request, res: Response): void {
  res.headers.set("x-soak", `${BUILD} ${turn} ${replaced}`);
}

export function onSave(state: State): void {
  state.writeI32(replaced);
}

export function onRestore(state: State): void {
  replaced = state.readI32() + 1;
}
