/** The access log of one worker: selects requests and writes their lines. */

import { type AccessLogPlan, type CompiledFields, compileFields, ESCAPED } from "./access-fields.ts";
import { AccessFormat, COMBINED_ROOM } from "./access-format.ts";
import type { AccessRecord } from "./access-record.ts";
import { LineWriter } from "./line-writer.ts";
import { LogTarget } from "./log-target.ts";
import { DEFAULT_ACCESS_FIELDS, WORKER_CELLS } from "./series.ts";
import type { ThrottledLog } from "./throttled-log.ts";

const LINE = 32 * 1024;

export const DEFAULT_ACCESS_LOG: AccessLogPlan = {
  format: "json",
  fields: DEFAULT_ACCESS_FIELDS.map((name) => ({ key: name, source: name })),
  path: null,
  where: [],
};

export type AccessLogOptions = {
  /** The descriptor for lines if no file is configured. */
  readonly fd: number;
  /** The worker's counter block. */
  readonly cells: Float64Array;
  readonly warnings?: ThrottledLog;
};

export class AccessLog {
  enabled = false;
  readonly #fd: number;
  readonly #writer: LineWriter;
  readonly #format = new AccessFormat();
  #plan = DEFAULT_ACCESS_LOG;
  #compiled: CompiledFields = compileFields(DEFAULT_ACCESS_LOG.fields);

  constructor({ fd, cells, warnings }: AccessLogOptions) {
    this.#fd = fd;
    const dropped = (lines: number, cause: string) => {
      cells[WORKER_CELLS.logDropped]! += lines;
      if (warnings?.admits("log_dropped", "access"))
        warnings.write("lines of the access log are dropped", { file: this.#plan.path ?? "standard output", cause });
    };
    this.#writer = new LineWriter({ target: new LogTarget({ fd }), dropped, line: LINE });
  }

  /** Applies the configuration of a version; null: the log is off. */
  configure(plan: AccessLogPlan | null): void {
    this.enabled = plan !== null;
    const next = plan ?? { ...this.#plan, path: null };
    if (next.path !== this.#plan.path) this.#writer.move(new LogTarget({ fd: this.#fd, path: next.path }));
    this.#plan = next;
    this.#compiled = compileFields(next.fields);
  }

  /** Logs an exchange that has ended, if it is selected. `now`: performance.now(). */
  line(x: AccessRecord, now: number): void {
    if (!this.enabled) return;
    const { where, format } = this.#plan;
    if (where.length > 0 && !meetsCondition(where, x, now)) return;
    const isJson = format === "json";
    const room = isJson ? this.#compiled.room + roomFor(x.logFields) : COMBINED_ROOM;
    const out = this.#writer.begin(room);
    if (out === null) return;
    const { text } = this.#format;
    text.out = out;
    text.length = this.#writer.length;
    if (isJson) this.#format.json(x, this.#compiled, now);
    else this.#format.combined(x, now);
    this.#writer.end(text.length, now);
  }

  /** Updates the clock, and flushes lines that are old enough. */
  tick(now: number): void {
    this.#format.wall = Date.now() - now;
    this.#writer.tick(now);
  }

  reopen(): void {
    this.#writer.reopen();
  }

  /** Flushes all lines, with a time limit for a slow reader. */
  close(): Promise<void> {
    this.enabled = false;
    return this.#writer.close();
  }
}

/** Whether a request meets one of the conditions; one that took exactly `slowerThan` does. */
export function meetsCondition(
  where: AccessLogPlan["where"],
  { response: { status }, grpcStatus, startedAt }: AccessRecord,
  now: number,
): boolean {
  for (const { statuses, grpc, slowerThan, share } of where) {
    if (statuses.length > 0 && !statuses.some(({ least, most }) => status >= least && status <= most)) continue;
    if (grpc !== 0 && ((grpc >>> grpcStatus) & 1) === 0) continue;
    if (slowerThan > 0 && now - startedAt < slowerThan) continue;
    if (share === 1 || Math.random() < share) return true;
  }
  return false;
}

function roomFor(added: ReadonlyMap<string, string> | null): number {
  let room = 0;
  if (added !== null) for (const [name, value] of added) room += name.length + ESCAPED * value.length + 16;
  return room;
}
