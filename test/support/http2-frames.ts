/** Frames of HTTP/2, written and read byte by byte, for peers that break the protocol. */
import { CODE, FRAME, FRAME_FLAG, readUint32, writeFrameHead } from "../../src/http2/frames.ts";
import { BEGIN_BOUND, FIELD_BOUND, HpackEncoder } from "../../src/http2/hpack-encoder.ts";

export type Field = readonly [name: string, value: string];
export type Frame = { type: number; flags: number; stream: number; payload: Buffer };

export const END = FRAME_FLAG.endStream | FRAME_FLAG.endHeaders;
export const SETTINGS = frame(FRAME.settings, 0, 0);

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

export const headers = (stream: number, fields: readonly Field[], flags: number = END): Buffer =>
  frame(FRAME.headers, flags, stream, block(fields));
export const uint32 = (value: number): Buffer => Buffer.from([value >>> 24, value >>> 16, value >>> 8, value]);
export const setting = (id: number, value: number): Buffer =>
  Buffer.concat([Buffer.from([id >>> 8, id]), uint32(value)]);
export const settings = (...pairs: readonly (readonly [id: number, value: number])[]): Buffer =>
  frame(FRAME.settings, 0, 0, Buffer.concat(pairs.map(([id, value]) => setting(id, value))));
export const goAway = (last: number, code: number): Buffer =>
  frame(FRAME.goAway, 0, 0, Buffer.concat([uint32(last), uint32(code)]));
export const reset = (stream: number, code: number): Buffer => frame(FRAME.resetStream, 0, stream, uint32(code));
export const repeat = (bytes: Buffer, count: number): Buffer =>
  Buffer.concat(Array.from({ length: count }, () => bytes));

export function framesOf(bytes: Buffer): Frame[] {
  const list: Frame[] = [];
  for (let at = 0; at + 9 <= bytes.length; ) {
    const length = (bytes[at]! << 16) | (bytes[at + 1]! << 8) | bytes[at + 2]!;
    if (at + 9 + length > bytes.length) break;
    const payload = bytes.subarray(at + 9, at + 9 + length);
    list.push({ type: bytes[at + 3]!, flags: bytes[at + 4]!, stream: readUint32(bytes, at + 5), payload });
    at += 9 + length;
  }
  return list;
}

export const nameOf = (code: number): string | undefined =>
  Object.entries(CODE).find(([, value]) => value === code)?.[0];
