/** Sends body bytes on an HTTP/1 connection, uncopied where they are in a block that their source lends. */

import { type BodyFrame, bodyBound, frameAfter, frameBefore, writeBody } from "../../http1/body-frame.ts";
import type { Buffers } from "../../net/buffers.ts";
import type { Connection } from "../../net/connection.ts";

/**
 * Sends `bytes[start, end)`, received by `source`, with their framing. In a block that it lends the framing is written
 * around the data, so the source must have saved what follows them there; all others are copied.
 * Returns false when the source should pause until `to` has flushed.
 */
export function sendBody(
  to: Connection,
  buffers: Buffers,
  source: Connection | null,
  bytes: Buffer,
  start: number,
  end: number,
  frame: BodyFrame,
): boolean {
  const { chunked, last, trailers } = frame;
  const hasData = end > start;
  if (!hasData && !(chunked && last)) return true;
  if (source === null || (last && trailers !== null) || !source.lends(bytes)) {
    const out = buffers.outFor(bodyBound(end - start, frame));
    return to.send(out, writeBody(out, 0, bytes, start, end, frame));
  }
  if (!chunked) return to.sendLent(source, bytes, start, end);
  const from = hasData ? frameBefore(bytes, start, end - start) : start;
  return to.sendLent(source, bytes, from, frameAfter(bytes, end, hasData, last));
}
