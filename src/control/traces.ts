/** Stores the last traces, bounded by count and bytes. */
import type { TraceList, TraceSummary } from "../admin/api.ts";
import type { TraceRecord } from "../trace/record.ts";

/** Most bytes of all traces, as JSON. */
const MAX_BYTES = 16 * 1024 * 1024;

export class Traces {
  readonly #maxBytes: number;
  /** The oldest first. */
  readonly #stored = new Map<string, { readonly summary: TraceSummary; readonly text: string }>();
  #limit: number;
  #bytes = 0;
  #dropped = 0;

  constructor(keep: number, maxBytes = MAX_BYTES) {
    this.#limit = keep;
    this.#maxBytes = maxBytes;
  }

  /** Sets how many are stored. */
  keep(count: number): void {
    this.#limit = count;
    this.#makeRoom();
  }

  add(worker: number, record: TraceRecord, dropped: number): void {
    this.#dropped += dropped;
    const { id, time, why, listener, route, cluster, took } = record;
    const { method, target } = record.request;
    const { status } = record.response;
    const summary = { id, time, why, listener, route, cluster, took, worker, method, target, status };
    const text = JSON.stringify({ ...record, worker });
    this.#stored.set(id, { summary, text });
    this.#bytes += text.length;
    this.#makeRoom();
  }

  list(): TraceList {
    return { traces: Array.from(this.#stored.values(), ({ summary }) => summary).reverse(), dropped: this.#dropped };
  }

  /** The whole trace as it was recorded, or null. */
  get(id: string): object | null {
    const stored = this.#stored.get(id);
    return stored === undefined ? null : (JSON.parse(stored.text) as object);
  }

  #makeRoom(): void {
    for (const [id, { text }] of this.#stored) {
      if (this.#stored.size <= this.#limit && this.#bytes <= this.#maxBytes) return;
      this.#stored.delete(id);
      this.#bytes -= text.length;
    }
  }
}
