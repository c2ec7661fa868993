// Holds a share of the requests up, to see what becomes of those who sent them:
//
//     delay: { percent: 10, milliseconds: 300 }    # percent: 100 without it
//
// Each request is drawn by itself. `fault` answers with errors; it is a filter of its own since it need not wait, and a
// filter that may is called in another way for every request, drawn or not.

import { Config, PerInstance, Request, randomFloat, sleep } from "sluice/sdk";

export const servesMany = true;

const LONGEST: i32 = 60000;

class Rule {
  constructor(
    readonly share: f64,
    readonly milliseconds: i32,
  ) {}
}

const rules = new PerInstance<Rule>();

export function configure(): void {
  Config.allow("", ["percent", "milliseconds"]);
  const percent = Config.float("percent", 100);
  if (percent < 0 || percent > 100) Config.refuse("percent", "0 to 100");
  const milliseconds = Config.int("milliseconds");
  if (milliseconds < 1 || milliseconds > LONGEST) Config.refuse("milliseconds", `1 to ${LONGEST}`);
  rules.set(new Rule(percent / 100, milliseconds));
}

export function onRequest(req: Request): void {
  const rule = rules.get();
  if (randomFloat() < rule.share) sleep(rule.milliseconds);
}
