/** The framing of body bytes on their way out (RFC 9112 section 7.1). */
import type { Head } from "../http/head.ts";
import { fieldsBound, writeChunkHead, writeLastChunk } from "./write.ts";

/** `last`: the body ends with these bytes. */
export type BodyFrame = { chunked: boolean; last: boolean; trailers: Head | null };

const scratch = Buffer.allocUnsafeSlow(32);

/** Capacity for `size` body bytes and their framing. */
export function bodyBound(size: number, { last, trailers }: BodyFrame): number {
  return size + 64 + (last && trailers !== null ? fieldsBound(trailers) : 0);
}

/** Writes body bytes and their framing to `out` at `at`; returns the new end. */
export function writeBody(
  out: Buffer,
  at: number,
  bytes: Buffer,
  start: number,
  end: number,
  frame: BodyFrame,
): number {
  const size = end - start;
  if (size > 0) {
    if (frame.chunked) at = writeChunkHead(out, at, size);
    if (size < 48) for (let i = start; i < end; i++) out[at++] = bytes[i]!;
    else at += bytes.copy(out, at, start, end);
    if (frame.chunked) {
      out[at++] = 13;
      out[at++] = 10;
    }
  }
  return frame.chunked && frame.last ? writeLastChunk(out, at, frame.trailers) : at;
}

/** Writes the head of a chunk of `size` bytes before `bytes[start]`; returns where it begins. */
export function frameBefore(bytes: Buffer, start: number, size: number): number {
  const head = writeChunkHead(scratch, 0, size);
  scratch.copy(bytes, start - head, 0, head);
  return start - head;
}

/** Writes what follows a chunk's data to `bytes[end]`, and the end of a body without trailers; returns the new end. */
export function frameAfter(bytes: Buffer, end: number, hasData: boolean, last: boolean): number {
  if (hasData) {
    bytes[end++] = 13;
    bytes[end++] = 10;
  }
  return last ? writeLastChunk(bytes, end, null) : end;
}
