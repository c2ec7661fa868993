// Gives each request an id, to the upstream and to the client:
//
//     request-id: { header: x-request-id, trust: false }
//
// With `trust: true` an id that the request brings is kept: only behind a proxy that sets it. Ids are UUIDs of version
// 7 (RFC 9562): the time in milliseconds, then random bits, so that they sort by time.

import { Config, Headers, PerInstance, Request, Response, now, random } from "sluice/sdk";

export const servesMany = true;

/** A foreign id that is longer is no id. */
const LONGEST = 128;

const header = new PerInstance<string>();
const trust = new PerInstance<bool>();
const codes: i32[] = new Array<i32>(36);

export function configure(): void {
  Config.allow("", ["header", "trust"]);
  const name = Config.string("header", "x-request-id");
  if (!Headers.canSet(name) || name.toLowerCase() == "host") Config.refuse("header", "a header that may be set");
  header.set(name);
  trust.set(Config.bool("trust", false));
}

export function onRequest(req: Request): void {
  const name = header.get();
  const brought = trust.get() ? req.headers.get(name) : null;
  req.headers.own(name);
  req.headers.set(name, brought !== null && brought.length > 0 && brought.length <= LONGEST ? brought : uuid());
}

export function onResponse(req: Request, res: Response): void {
  const name = header.get();
  const id = req.headers.get(name);
  if (id !== null) res.headers.set(name, id);
}

function uuid(): string {
  const time = <u64>now();
  let at = hex(0, time >> 16, 8);
  at = hex(at, time & 0xffff, 4);
  at = hex(at, 0x7000 | (random() & 0x0fff), 4);
  at = hex(at, 0x8000 | (random() & 0x3fff), 4);
  at = hex(at, random(), 8);
  hex(at - 1, random() & 0xffff, 4);
  return String.fromCharCodes(codes);
}

/** Writes `digits` digits and a dash, where there is room for one. */
function hex(at: i32, value: u64, digits: i32): i32 {
  for (let i = digits - 1; i >= 0; i--) {
    const digit = <i32>(value & 15);
    codes[at + i] = digit < 10 ? 48 + digit : 87 + digit;
    value >>= 4;
  }
  if (at + digits < codes.length) codes[at + digits] = 45;
  return at + digits + 1;
}
