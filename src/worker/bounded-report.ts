import { WORKER_CELLS } from "../observe/series.ts";
import type { Report } from "../observe/throttled-log.ts";

/** Most log lines that one worker posts to the main thread per second. */
const MAX_LINES = 1000;
const SECOND = 1000;

/** Limits `report` to 1000 lines per second; further ones are counted as dropped. */
export function boundReport(report: Report, cells: Float64Array): Report {
  let since = Number.NEGATIVE_INFINITY;
  let lines = 0;
  return (level, message, fields) => {
    const now = performance.now();
    if (now - since >= SECOND) {
      since = now;
      lines = 0;
    }
    if (++lines > MAX_LINES) cells[WORKER_CELLS.logDropped]!++;
    else report(level, message, fields);
  };
}
