// Makes requests fail on purpose, to see what becomes of those who sent them:
//
//     fault:
//       abort: { percent: 0.5, status: 503, body: "injected" }    # status 400 to 599; body may be left out
//
// Each request is drawn by itself; `delay` holds requests up. An answer that was made so carries `x-fault: abort`.

import { Config, PerInstance, Request, randomFloat } from "sluice/sdk";

export const servesMany = true;

class Rule {
  constructor(
    readonly share: f64,
    readonly status: i32,
    readonly body: string,
  ) {}
}

const rules = new PerInstance<Rule>();

export function configure(): void {
  Config.allow("", ["abort"]);
  Config.allow("abort", ["percent", "status", "body"]);
  const percent = Config.float("abort.percent");
  if (percent < 0 || percent > 100) Config.refuse("abort.percent", "0 to 100");
  const status = Config.int("abort.status", 503);
  if (status < 400 || status > 599) Config.refuse("abort.status", "400 to 599");
  rules.set(new Rule(percent / 100, status, Config.string("abort.body", "fault injected\n")));
}

export function onRequest(req: Request): void {
  const rule = rules.get();
  if (randomFloat() < rule.share) req.respond(rule.status, rule.body).headers.set("x-fault", "abort");
}
