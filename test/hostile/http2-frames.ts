/** A client of HTTP/2 that sends frames as they are, for tests of what a well-behaved one does not send. */
import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import { CODE, FRAME, FRAME_FLAG, PREFACE, readUint32, writeFrameHead } from "../../src/http2/frames.ts";
import { BEGIN_BOUND, FIELD_BOUND, HpackEncoder } from "../../src/http2/hpack-encoder.ts";
import { connectTo, type Peer } from "../e2e/peers.ts";
import type { Program } from "../e2e/program.ts";

export type Field = readonly [name: string, value: string];

export const GET: Field[] = [
  [":method", "GET"],
  [":scheme", "http"],
  [":path", "/"],
  [":authority", "a"],
];
export const POST: Field[] = [[":method", "POST"], ...GET.slice(1)];

export function frame(type: number, flags: number, stream: number, payload: Uint8Array = Buffer.alloc(0)): Buffer {
  const bytes = Buffer.alloc(9 + payload.length);
  writeFrameHead(bytes, 0, payload.length, type, flags, stream);
  bytes.set(payload, 9);
  return bytes;
}

/** A header block without a dynamic table, so that blocks are independent. */
export function block(fields: readonly Field[]): Buffer {
  const encoder = new HpackEncoder();
  encoder.resize(0);
  const size = fields.reduce((sum, [name, value]) => sum + name.length + value.length + FIELD_BOUND, BEGIN_BOUND);
  const out = Buffer.alloc(size);
  encoder.begin(out, 0);
  for (const [name, value] of fields) {
    const bytes = Buffer.from(name + value, "latin1");
    encoder.field(bytes, 0, name.length, name.length, bytes.length);
  }
  return out.subarray(0, encoder.end);
}

export const END = FRAME_FLAG.endStream | FRAME_FLAG.endHeaders;
export const headers = (stream: number, fields: readonly Field[], flags: number = END) =>
  frame(FRAME.headers, flags, stream, block(fields));
export const uint32 = (value: number) => Buffer.from([value >>> 24, value >>> 16, value >>> 8, value]);
export const setting = (id: number, value: number) => Buffer.concat([Buffer.from([id >>> 8, id]), uint32(value)]);
export const SETTINGS = frame(FRAME.settings, 0, 0);
export const HELLO = Buffer.concat([PREFACE, SETTINGS]);
export const repeat = (bytes: Buffer, count: number) => Buffer.concat(Array.from({ length: count }, () => bytes));

export type Received = { type: number; flags: number; stream: number; payload: Buffer };

export function framesOf(bytes: Buffer): Received[] {
  const list: Received[] = [];
  for (let at = 0; at + 9 <= bytes.length; ) {
    const length = (bytes[at]! << 16) | (bytes[at + 1]! << 8) | bytes[at + 2]!;
    if (at + 9 + length > bytes.length) break;
    const payload = bytes.subarray(at + 9, at + 9 + length);
    list.push({ type: bytes[at + 3]!, flags: bytes[at + 4]!, stream: readUint32(bytes, at + 5), payload });
    at += 9 + length;
  }
  return list;
}

export const nameOf = (code: number) => Object.entries(CODE).find(([, value]) => value === code)?.[0];

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
