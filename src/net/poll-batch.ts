/**
 * Identifies the current batch of event-loop events: two calls return the same number if and only if no poll of the
 * system is between them. Bytes that a socket delivers in the batch in which it was written to were received by the
 * system before the write.
 *
 * libuv adds to `loopCount` before each poll phase and to `events` after each batch, of which one phase may have several
 * (it asks again when its list of 1024 events was full). Both only grow, so their sum is another one in each batch.
 * About 20 ns a call.
 */
import { performance } from "node:perf_hooks";

const { nodeTiming } = performance;

export function pollBatch(): number {
  const { loopCount, events } = nodeTiming.uvMetricsInfo;
  return loopCount + events;
}
