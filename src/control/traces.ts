/** The traces that are kept: the last ones, bounded by their count and their bytes. */

import type { TraceList, TraceSummary } from "../admin/api.ts";
import type { TraceRecord } from "../trace/trace.ts";

/** What all of them may take, as JSON. */
const MAX_BYTES = 16 * 1024 * 1024;

export class Traces {
  readonly #maxBytes: number;
  /** In the order in which they came. */
  readonly #kept = new Map<string, { readonly summary: TraceSummary; readonly text: string }>();
  #keep: number;
  #bytes = 0;
  #dropped = 0;

  constructor(keep: number, maxBytes = MAX_BYTES) {
    this.#keep = keep;
    this.#maxBytes = maxBytes;
  }

  /** How many are kept from now on. */
  keep(count: number): void {
    this.#keep = count;
    this.#makeRoom();
  }

  add(thread: number, record: TraceRecord, dropped: number): void {
    this.#dropped += dropped;
    const { id, time, why, listener, route, cluster, took } = record;
    const { method, target } = record.request;
    const { status } = record.answer;
    const summary = { id, time, why, listener, route, cluster, took, thread, method, target, status };
    const text = JSON.stringify({ ...record, thread });
    this.#kept.set(id, { summary, text });
    this.#bytes += text.length;
    this.#makeRoom();
  }

  list(): TraceList {
    return { traces: Array.from(this.#kept.values(), ({ summary }) => summary).reverse(), dropped: this.#dropped };
  }

  /** The whole trace as it was recorded, or null. */
  get(id: string): object | null {
    const kept = this.#kept.get(id);
    return kept === undefined ? null : (JSON.parse(kept.text) as object);
  }

  #makeRoom(): void {
    for (const [id, { text }] of this.#kept) {
      if (this.#kept.size <= this.#keep && this.#bytes <= this.#maxBytes) return;
      this.#kept.delete(id);
      this.#bytes -= text.length;
    }
  }
}
