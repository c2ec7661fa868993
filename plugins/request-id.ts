// Sets a request id, for the endpoint and for the client:
//
//     request-id: { header: x-request-id, trust: false }
//
// With `trust: true` the id of the incoming request is kept: use it only behind a proxy that sets the header. Ids are UUIDs
// of version 7 (RFC 9562): the time in milliseconds followed by random bits, so that they sort by time.

import { Config, Headers, PerInstance, Request, Response, now, random } from "sluice/sdk";

export const servesMany = true;

/** Maximum length of an id of the incoming request; a longer one is replaced. */
const MAX_LENGTH = 128;

const header = new PerInstance<string>();
const trust = new PerInstance<bool>();
/** Character codes of the UUID being formatted. */
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
  const received = trust.get() ? req.headers.get(name) : null;
  req.headers.own(name);
  req.headers.set(name, received !== null && received.length > 0 && received.length <= MAX_LENGTH ? received : uuid());
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

/** Writes `digits` digits at `at`, and a dash unless it is the end; returns the next position. */
function hex(at: i32, value: u64, digits: i32): i32 {
  for (let i = digits - 1; i >= 0; i--) {
    const digit = <i32>(value & 15);
    codes[at + i] = digit < 10 ? 48 + digit : 87 + digit;
    value >>= 4;
  }
  if (at + digits < codes.length) codes[at + digits] = 45;
  return at + digits + 1;
}
