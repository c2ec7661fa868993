/** Shared by all parts of one worker; created once by its composition root. */
import type { EndpointColumns } from "../cluster/columns.ts";
import type { Challenges } from "../net/acme/challenges.ts";
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

export type WorkerContext = {
  readonly worker: number;
  readonly clock: Clock;
  readonly buffers: Buffers;
  readonly columns: EndpointColumns;
  /** Challenges of ACME that a CA may validate. */
  readonly challenges: Challenges;
  /** This worker's counter block. */
  readonly cells: Float64Array;
  readonly accessLog: AccessLog;
  readonly report: Report;
  /** For events that may happen with every request; rate-limited. */
  readonly warnings: ThrottledLog;
  /** Notifies the main thread of a change of an endpoint's passive health. */
  readonly notifyHealth: (event: HealthEvent) => void;
};
