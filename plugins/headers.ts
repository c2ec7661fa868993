// Sets, adds and removes headers:
//
//     headers:
//       request: { set: { x-from: sluice }, add: { via-team: edge }, remove: [cookie] }
//       response: { remove: [server, x-powered-by] }
//
// For each direction `remove` is applied first, then `set`, then `add`. A value may be a list: `add: { x-a: [b, c] }`.
// Request headers that are set or removed are removed in every spelling that the client sent (`X_From`), and in trailers.

import { Config, Headers, PerInstance, Request, Response } from "sluice/sdk";

export const servesMany = true;

class Changes {
  remove: string[] = [];
  setNames: string[] = [];
  setValues: string[] = [];
  addNames: string[] = [];
  addValues: string[] = [];

  /** Names that are removed or set, except `host`: the endpoint must not get another spelling of them from the client. */
  owned: string[] = [];

  apply(headers: Headers): void {
    for (let i = 0; i < this.remove.length; i++) headers.remove(this.remove[i]);
    for (let i = 0; i < this.setNames.length; i++) headers.set(this.setNames[i], this.setValues[i]);
    for (let i = 0; i < this.addNames.length; i++) headers.add(this.addNames[i], this.addValues[i]);
  }
}

const requestChanges = new PerInstance<Changes>();
const responseChanges = new PerInstance<Changes>();

export function configure(): void {
  Config.allow("", ["request", "response"]);
  const changes = readChanges("request");
  own(changes, changes.remove);
  own(changes, changes.setNames);
  requestChanges.set(changes);
  responseChanges.set(readChanges("response"));
}

export function onRequest(req: Request): void {
  const changes = requestChanges.get();
  for (let i = 0; i < changes.owned.length; i++) req.headers.own(changes.owned[i]);
  changes.apply(req.headers);
}

export function onResponse(req: Request, res: Response): void {
  responseChanges.get().apply(res.headers);
}

function own(changes: Changes, names: string[]): void {
  for (let i = 0; i < names.length; i++) if (names[i].toLowerCase() != "host") changes.owned.push(names[i]);
}

function readChanges(path: string): Changes {
  Config.allow(path, ["set", "add", "remove"]);
  const changes = new Changes();
  const remove = Config.list(`${path}.remove`);
  for (let i = 0; i < remove.length; i++) changes.remove.push(checkName(`${path}.remove`, remove[i], false));
  readFields(`${path}.set`, changes.setNames, changes.setValues, false);
  readFields(`${path}.add`, changes.addNames, changes.addValues, true);
  return changes;
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

/** `host`: whether Host is allowed. It can be set, but not removed or added. */
function checkName(path: string, name: string, host: bool): string {
  if (!Headers.canSet(name) || (!host && name.toLowerCase() == "host")) Config.refuse(path, `headers that may be set, not "${name}"`);
  return name;
}

function checkValue(path: string, value: string): string {
  if (!Headers.isValue(value)) Config.refuse(path, "a header value of printable ASCII");
  return value;
}
