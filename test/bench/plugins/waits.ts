// A plugin that may wait: it asks for leave when `asks` says so, and else has nothing to wait for.
import { Config, Fetch, Request } from "sluice/sdk";

const asks = Config.bool("asks");

export function onRequest(req: Request): void {
  if (asks && !new Fetch("cluster:app/check").send().ok) req.reject();
}
