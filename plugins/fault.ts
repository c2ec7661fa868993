// Responds to a share of the requests with an error, to test how clients react:
//
//     fault:
//       abort: { percent: 0.5, status: 503, body: "injected" }    # status: 400 to 599; body is optional
//
// Requests are selected at random, independently. These responses have the header `x-fault: abort`. To delay requests,
// use `delay`.

import { Config, PerInstance, Request, randomFloat } from "sluice/sdk";

export const servesMany = true;

class Settings {
  constructor(
    readonly share: f64,
    readonly status: i32,
    readonly body: string,
  ) {}
}

const current = new PerInstance<Settings>();

export function configure(): void {
  Config.allow("", ["abort"]);
  Config.allow("abort", ["percent", "status", "body"]);
  const percent = Config.float("abort.percent");
  if (percent < 0 || percent > 100) Config.refuse("abort.percent", "0 to 100");
  const status = Config.int("abort.status", 503);
  if (status < 400 || status > 599) Config.refuse("abort.status", "400 to 599");
  current.set(new Settings(percent / 100, status, Config.string("abort.body", "fault injected\n")));
}

export function onRequest(req: Request): void {
  const settings = current.get();
  if (randomFloat() < settings.share) req.respond(settings.status, settings.body).headers.set("x-fault", "abort");
}
