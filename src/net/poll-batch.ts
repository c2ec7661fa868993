/**
 * Identifies the batch of events that the event loop works through now: two calls return the same number if and only if
 * no poll of the system lies between them. What a socket delivers in the batch in which something was written to it was
 * received by the system before that was sent.
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
