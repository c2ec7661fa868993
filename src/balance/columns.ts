/**
 * What all threads know of each endpoint, in one shared buffer of fixed size: dense Int32 columns, one row (slot) an
 * endpoint, and for each thread its own row of in-flight counts, which the supervisor subtracts and clears when that
 * thread has ended. In-flight is exact (Atomics); averages may lose an update between threads.
 */
export const MAX_ENDPOINTS = 8192;

/** Bits of the health column; 0 is an endpoint that takes traffic. */
export const HEALTH = { unhealthy: 1, ejected: 2, draining: 4, disabled: 8 } as const;

const EPOCH = 0;
const HEADER_WORDS = 16;
const SHARED_COLUMNS = 4;

export class EndpointColumns {
  readonly buffer: SharedArrayBuffer;
  readonly inFlight: Int32Array<SharedArrayBuffer>;
  /** Microseconds, decaying average; 0 without a sample. */
  readonly latency: Int32Array<SharedArrayBuffer>;
  /** Parts per million, decaying average. */
  readonly errorRate: Int32Array<SharedArrayBuffer>;
  readonly health: Int32Array<SharedArrayBuffer>;
  readonly #header: Int32Array<SharedArrayBuffer>;
  readonly #threadRows: Int32Array<SharedArrayBuffer>[];

  static allocate(threads: number): EndpointColumns {
    const words = HEADER_WORDS + (SHARED_COLUMNS + threads) * MAX_ENDPOINTS;
    return new EndpointColumns(new SharedArrayBuffer(words * 4), threads);
  }

  constructor(buffer: SharedArrayBuffer, threads: number) {
    this.buffer = buffer;
    const column = (n: number) => new Int32Array(buffer, (HEADER_WORDS + n * MAX_ENDPOINTS) * 4, MAX_ENDPOINTS);
    this.#header = new Int32Array(buffer, 0, HEADER_WORDS);
    this.inFlight = column(0);
    this.latency = column(1);
    this.errorRate = column(2);
    this.health = column(3);
    this.#threadRows = Array.from({ length: threads }, (_, t) => column(SHARED_COLUMNS + t));
  }

  /** Moves whenever an eligible set must be made anew: health, drain, ejection. */
  epoch(): number {
    return Atomics.load(this.#header, EPOCH);
  }

  bumpEpoch(): void {
    Atomics.add(this.#header, EPOCH, 1);
  }

  /** One request more (`by` 1) or less (-1) in flight on `slot`, said by `thread`. */
  addInFlight(thread: number, slot: number, by: number): void {
    Atomics.add(this.inFlight, slot, by);
    this.#threadRows[thread]![slot]! += by;
  }

  /** What an attempt came to: moves the averages by 1/8 (latency) and 1/16 (errors) of the difference. */
  sample(slot: number, micros: number, failed: boolean): void {
    const rate = this.errorRate[slot]!;
    this.errorRate[slot] = rate + (((failed ? 1_000_000 : 0) - rate) >> 4);
    if (failed) return;
    const average = this.latency[slot]!;
    const capped = Math.min(micros, 0x7fffffff);
    this.latency[slot] = average === 0 ? Math.max(1, capped) : average + (capped - average) / 8;
  }

  /** Takes back what an ended thread had in flight. The supervisor's. */
  forgetThread(thread: number): void {
    const row = this.#threadRows[thread]!;
    for (let slot = 0; slot < MAX_ENDPOINTS; slot++) {
      const count = row[slot]!;
      if (count === 0) continue;
      Atomics.sub(this.inFlight, slot, count);
      row[slot] = 0;
    }
  }

  /** Makes a slot like new, for another endpoint. Only when no thread uses the old one. */
  clearSlot(slot: number): void {
    this.inFlight[slot] = 0;
    this.latency[slot] = 0;
    this.errorRate[slot] = 0;
    this.health[slot] = 0;
  }
}
