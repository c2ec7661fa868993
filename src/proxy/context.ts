/** What every part of one worker's data plane shares; made once by the thread's composition root. */
import type { EndpointColumns } from "../cluster/columns.ts";
import type { Buffers } from "../net/buffers.ts";
import type { Clock } from "../net/clock.ts";
import type { AccessLog } from "../observe/access-log.ts";
import type { Report, ThrottledLog } from "../observe/throttled-log.ts";

export type HealthEvent = {
  /** The endpoint's row. */
  readonly slot: number;
  /** `failing`: `consecutiveFailures` is reached, or it hangs; the others: the result of a probe request. */
  readonly event: "failing" | "recovered" | "probe_failed";
  /** How the last attempt failed: an outcome code, or `status 503`. */
  readonly cause: string;
};

export type ThreadContext = {
  readonly thread: number;
  readonly clock: Clock;
  readonly buffers: Buffers;
  readonly columns: EndpointColumns;
  /** This thread's counter block. */
  readonly cells: Float64Array;
  readonly accessLog: AccessLog;
  readonly report: Report;
  /** For what may happen with every request. */
  readonly warnings: ThrottledLog;
  /** Notifies the main thread of what requests show of an endpoint. */
  readonly notifyHealth: (event: HealthEvent) => void;
};
