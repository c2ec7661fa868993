// Delays a share of the requests, to test how clients react:
//
//     delay: { percent: 10, milliseconds: 300 }    # percent: 100 by default
//
// Requests are selected at random, independently. Local error responses are a plugin of their own (`fault`): it makes no
// asynchronous host call, and plugins that import one are called by a slower path for every request.

import { Config, PerInstance, Request, randomFloat, sleep } from "sluice/sdk";

export const servesMany = true;

/** Maximum delay in milliseconds. */
const MAX_DELAY: i32 = 60000;

class Settings {
  constructor(
    readonly share: f64,
    readonly milliseconds: i32,
  ) {}
}

const current = new PerInstance<Settings>();

export function configure(): void {
  Config.allow("", ["percent", "milliseconds"]);
  const percent = Config.float("percent", 100);
  if (percent < 0 || percent > 100) Config.refuse("percent", "0 to 100");
  const milliseconds = Config.int("milliseconds");
  if (milliseconds < 1 || milliseconds > MAX_DELAY) Config.refuse("milliseconds", `1 to ${MAX_DELAY}`);
  current.set(new Settings(percent / 100, milliseconds));
}

export function onRequest(req: Request): void {
  const settings = current.get();
  if (randomFloat() < settings.share) sleep(settings.milliseconds);
}
