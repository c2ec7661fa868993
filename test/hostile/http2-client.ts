/** A client of HTTP/2 that sends frames as they are, for tests of what a well-behaved one does not send. */
import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import { FRAME, PREFACE, readUint32 } from "../../src/http2/frames.ts";
import { connectTo, type Peer } from "../e2e/peers.ts";
import type { Program } from "../e2e/program.ts";
import { type Field, framesOf, nameOf, SETTINGS } from "../support/http2-frames.ts";

export const GET: Field[] = [
  [":method", "GET"],
  [":scheme", "http"],
  [":path", "/"],
  [":authority", "a"],
];
export const POST: Field[] = [[":method", "POST"], ...GET.slice(1)];
export const HELLO = Buffer.concat([PREFACE, SETTINGS]);

/** The first reply other than SETTINGS, PING or WINDOW_UPDATE: `goAway CODE`, `reset CODE` or `response`. */
export function outcomeOf(client: Peer): string {
  for (const { type, payload } of framesOf(client.bytes)) {
    if (type === FRAME.goAway) return `goAway ${nameOf(readUint32(payload, 4))}`;
    if (type === FRAME.resetStream) return `reset ${nameOf(readUint32(payload, 0))}`;
    // A literal or an indexed :status; the static table has 200, 204, 206, 304, 400, 404 and 500 from 8 on.
    if (type === FRAME.headers)
      return payload[0]! & 0x80
        ? `response ${[200, 204, 206, 304, 400, 404, 500][(payload[0]! & 0x7f) - 8]}`
        : `response ${payload.toString("latin1", 2, 5)}`;
  }
  return "";
}

export async function waits(client: Peer, is: () => boolean, what: string): Promise<void> {
  assert.ok(await client.waits(is, what), `${what}: the connection has ended`);
}

export async function open(t: TestContext, sluice: Program, bytes: Buffer): Promise<Peer> {
  const client = await connectTo(t, sluice.port);
  return client.send(bytes);
}
