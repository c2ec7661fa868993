import { THREAD_CELLS } from "../observe/series.ts";
import type { Report } from "../observe/throttled-log.ts";

/** Lines that one thread may post to the main thread in a second, whatever goes wrong. */
const MAX_LINES = 1000;
const SECOND = 1000;

/** The same within that bound; what is beyond is counted as dropped. */
export function boundReport(report: Report, cells: Float64Array): Report {
  let since = Number.NEGATIVE_INFINITY;
  let lines = 0;
  return (level, message, fields) => {
    const now = performance.now();
    if (now - since >= SECOND) {
      since = now;
      lines = 0;
    }
    if (++lines > MAX_LINES) cells[THREAD_CELLS.logDropped]!++;
    else report(level, message, fields);
  };
}
