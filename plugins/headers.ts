// Sets, adds and removes headers:
//
//     headers:
//       request: { set: { x-from: sluice }, add: { via-team: edge }, remove: [cookie] }
//       response: { remove: [server, x-powered-by] }
//
// Of one direction `remove` comes first, then `set`, then `add`. A value may be a list: `add: { x-a: [b, c] }`.
// What is set or removed of a request is removed in every spelling that a client sends (`X_From`), and in its trailers.

import { Config, Headers, PerInstance, Request, Response } from "sluice/sdk";

export const servesMany = true;

class Rules {
  remove: string[] = [];
  setNames: string[] = [];
  setValues: string[] = [];
  addNames: string[] = [];
  addValues: string[] = [];

  /** Names that are removed or set, `host` aside: the upstream must not read them from the client in another spelling. */
  owned: string[] = [];

  apply(headers: Headers): void {
    for (let i = 0; i < this.remove.length; i++) headers.remove(this.remove[i]);
    for (let i = 0; i < this.setNames.length; i++) headers.set(this.setNames[i], this.setValues[i]);
    for (let i = 0; i < this.addNames.length; i++) headers.add(this.addNames[i], this.addValues[i]);
  }
}

const requestRules = new PerInstance<Rules>();
const responseRules = new PerInstance<Rules>();

export function configure(): void {
  Config.allow("", ["request", "response"]);
  const rules = readRules("request");
  own(rules, rules.remove);
  own(rules, rules.setNames);
  requestRules.set(rules);
  responseRules.set(readRules("response"));
}

export function onRequest(req: Request): void {
  const rules = requestRules.get();
  for (let i = 0; i < rules.owned.length; i++) req.headers.own(rules.owned[i]);
  rules.apply(req.headers);
}

export function onResponse(req: Request, res: Response): void {
  responseRules.get().apply(res.headers);
}

function own(rules: Rules, names: string[]): void {
  for (let i = 0; i < names.length; i++) if (names[i].toLowerCase() != "host") rules.owned.push(names[i]);
}

function readRules(path: string): Rules {
  Config.allow(path, ["set", "add", "remove"]);
  const rules = new Rules();
  const remove = Config.list(`${path}.remove`);
  for (let i = 0; i < remove.length; i++) rules.remove.push(checkName(`${path}.remove`, remove[i], false));
  readFields(`${path}.set`, rules.setNames, rules.setValues, false);
  readFields(`${path}.add`, rules.addNames, rules.addValues, true);
  return rules;
}

function readFields(path: string, names: string[], values: string[], many: bool): void {
  for (let i = 0, count = Config.keys(path).length; i < count; i++) {
    const name = checkName(path, Config.key(path, i), path == "request.set");
    const at = Config.join(path, name);
    if (!many) Config.string(at);
    const list = Config.list(at);
    for (let k = 0; k < list.length; k++) {
      names.push(name);
      values.push(checkValue(at, list[k]));
    }
  }
}

/** Host names where a request goes: it can be replaced, never be missing or there twice. */
function checkName(path: string, name: string, host: bool): string {
  if (!Headers.canSet(name) || (!host && name.toLowerCase() == "host")) Config.refuse(path, `a header that may be changed, not "${name}"`);
  return name;
}

function checkValue(path: string, value: string): string {
  if (!Headers.isValue(value)) Config.refuse(path, "a header value of printable ASCII");
  return value;
}
