/**
 * The shared state of endpoints: dense Int32 columns in one buffer of fixed size, one row (slot) per endpoint, and a
 * column of requests in flight per worker, which the supervisor clears when that worker has exited. In-flight is exact:
 * each worker writes only its own column, and readers add them up (two atomic additions to one column would cost 170 ns
 * per request; adding costs one load per worker). Averages may lose concurrent updates. There are columns for more workers
 * than are started, because their number can change; untouched pages use no memory, and only columns of workers that have
 * been started are added up.
 */
export const MAX_ENDPOINTS = 65_536;

/**
 * Bits of the health column; 0: the endpoint takes traffic. `probing` is set in addition to `ejected`: the next request
 * decides whether the ejection ends.
 */
export const HEALTH = { unhealthy: 1, ejected: 2, draining: 4, disabled: 8, probing: 16 } as const;

const EPOCH = 0;
/** Index of the word with the number of worker columns in use. */
const REACH = 1;
const HEADER_WORDS = 16;
const SHARED_COLUMNS = 6;

/** Averages halve every HALF ms from FRESH ms after the last sample: one slow response must not bar an endpoint. */
const FRESH = 10_000;
const HALF = 10_000;

export class EndpointColumns {
  readonly buffer: SharedArrayBuffer;
  /** Average in microseconds at the last response, not decayed (`latencyOf`); 0 without a sample. */
  readonly latency: Int32Array<SharedArrayBuffer>;
  /** Average in parts per million at the last attempt, not decayed (`errorRateOf`). */
  readonly errorRate: Int32Array<SharedArrayBuffer>;
  readonly health: Int32Array<SharedArrayBuffer>;
  /** Failed attempts since the last response. */
  readonly failures: Int32Array<SharedArrayBuffer>;
  /** Time of the last response (`sharedTime`). */
  readonly respondedAt: Int32Array<SharedArrayBuffer>;
  /** Time of the end of the last attempt (`sharedTime`), precise to about 50 ms; 0: never. */
  readonly sampledAt: Int32Array<SharedArrayBuffer>;
  readonly #header: Int32Array<SharedArrayBuffer>;
  readonly #inFlight: Int32Array<SharedArrayBuffer>[];
  #now = sharedTime(performance.now());

  /** Allocates columns for workers numbered below `places`; those below `workers` are added up. */
  static allocate(workers: number, places = workers): EndpointColumns {
    const words = HEADER_WORDS + (SHARED_COLUMNS + places) * MAX_ENDPOINTS;
    const columns = new EndpointColumns(new SharedArrayBuffer(words * 4));
    columns.#header[REACH] = workers;
    return columns;
  }

  constructor(buffer: SharedArrayBuffer) {
    const places = (buffer.byteLength / 4 - HEADER_WORDS) / MAX_ENDPOINTS - SHARED_COLUMNS;
    this.buffer = buffer;
    const column = (n: number) => new Int32Array(buffer, (HEADER_WORDS + n * MAX_ENDPOINTS) * 4, MAX_ENDPOINTS);
    this.#header = new Int32Array(buffer, 0, HEADER_WORDS);
    this.latency = column(0);
    this.errorRate = column(1);
    this.health = column(2);
    this.failures = column(3);
    this.respondedAt = column(4);
    this.sampledAt = column(5);
    this.#inFlight = Array.from({ length: places }, (_, t) => column(SHARED_COLUMNS + t));
  }

  /** Changes whenever eligible sets must be rebuilt. Plain loads for each request: outdated at worst, not torn. */
  epoch(): number {
    return this.#header[EPOCH]!;
  }

  bumpEpoch(): void {
    Atomics.add(this.#header, EPOCH, 1);
  }

  /** Sets or clears a bit of HEALTH; a change invalidates eligible sets. */
  mark(slot: number, bit: number, on: boolean): void {
    const before = on ? Atomics.or(this.health, slot, bit) : Atomics.and(this.health, slot, ~bit);
    if (((before & bit) !== 0) !== on) this.bumpEpoch();
  }

  /** Ejects an endpoint because of failed requests. */
  eject(slot: number): void {
    this.mark(slot, HEALTH.ejected, true);
  }

  /** Permits one request of any worker to an ejected endpoint. */
  offerProbe(slot: number): void {
    const before = Atomics.or(this.health, slot, HEALTH.probing);
    // A worker may return the probe after the ejection has ended.
    if ((before & HEALTH.ejected) === 0) Atomics.and(this.health, slot, ~HEALTH.probing);
    this.bumpEpoch();
  }

  endEjection(slot: number): void {
    this.failures[slot] = 0;
    this.mark(slot, HEALTH.ejected | HEALTH.probing, false);
  }

  /** Claims the one request of a probing endpoint; false: another worker has claimed it. */
  claimProbe(slot: number): boolean {
    return (Atomics.and(this.health, slot, ~HEALTH.probing) & HEALTH.probing) !== 0;
  }

  /** Records a response at `at` (performance.now()). */
  responded(slot: number, at: number): void {
    this.received(slot, at);
    if (this.failures[slot] !== 0) this.failures[slot] = 0;
  }

  /** Notes a response of which it is not known yet whether it is a failure. */
  received(slot: number, at: number): void {
    this.respondedAt[slot] = sharedTime(at);
  }

  /** Counts a failed attempt; returns the number of consecutive ones. */
  addFailure(slot: number): number {
    return Atomics.add(this.failures, slot, 1) + 1;
  }

  /** Whether a response was received from the endpoint after `at` (performance.now()). */
  respondedSince(slot: number, at: number): boolean {
    return ((this.respondedAt[slot]! - sharedTime(at)) | 0) > 0;
  }

  /** Returns the bits of HEALTH to ignore: ejections, if the share of eligible endpoints is below `panic`. */
  ignoredBits(endpoints: readonly { readonly slot: number }[], panic: number): number {
    let left = 0;
    for (const { slot } of endpoints) if (this.health[slot] === 0) left++;
    return left < panic * endpoints.length ? HEALTH.ejected | HEALTH.probing : 0;
  }

  /** Includes a worker's column in sums. Called by the main thread before the worker starts. */
  addWorker(worker: number): void {
    if (worker >= this.#header[REACH]!) Atomics.store(this.#header, REACH, worker + 1);
  }

  /** Adds `by` (1 or -1) to the requests in flight on `slot` of a worker, which must be the caller's. */
  addInFlight(worker: number, slot: number, by: number): void {
    this.#inFlight[worker]![slot]! += by;
  }

  /** Requests in flight on `slot` of one worker. */
  inFlightOf(worker: number, slot: number): number {
    return this.#inFlight[worker]![slot]!;
  }

  /** Requests in flight on `slot` of all workers. */
  inFlight(slot: number): number {
    const columns = this.#inFlight;
    const reach = this.#header[REACH]!;
    let sum = 0;
    for (let worker = 0; worker < reach; worker++) sum += columns[worker]![slot]!;
    return sum;
  }

  /** Sets the current time (performance.now()) of this worker, by which averages decay. */
  moveTo(at: number): void {
    this.#now = sharedTime(at);
  }

  /** Decayed average time to the response head in microseconds; 0 without a sample. */
  latencyOf(slot: number): number {
    const average = this.latency[slot]!;
    const age = this.#ageOf(this.respondedAt[slot]!);
    return age <= FRESH || average === 0 ? average : Math.max(1, fade(average, age));
  }

  /** Milliseconds since the last response that updated the latency; 0 without a sample. */
  latencyAgeOf(slot: number): number {
    return this.latency[slot] === 0 ? 0 : this.#ageOf(this.respondedAt[slot]!);
  }

  /** Decayed average share of failed attempts in parts per million. */
  errorRateOf(slot: number): number {
    const rate = this.errorRate[slot]!;
    const age = this.#ageOf(this.sampledAt[slot]!);
    return age <= FRESH ? rate : fade(rate, age);
  }

  /** Sets the results of `latencyOf` and `latencyAgeOf`, for copies of the columns. */
  setLatency(slot: number, micros: number, age: number): void {
    this.latency[slot] = age <= FRESH ? micros : Math.min(0x7fffffff, Math.round(micros / fadedBy(age)));
    this.respondedAt[slot] = this.#now - age;
  }

  /** Age in ms, at most 24 days; 0 for none, and for a time slightly ahead, as another worker's can be. */
  #ageOf(time: number): number {
    const age = (this.#now - time) >>> 0;
    return time === 0 || age > LATE ? 0 : Math.min(age, 0x7fffffff);
  }

  /**
   * Updates the averages with an attempt: by 1/8 (latency) and 1/16 (errors) of the difference. Must be called before
   * `responded`, because the previous average decays by its age.
   */
  sample(slot: number, micros: number, failed: boolean): void {
    const rate = this.errorRateOf(slot);
    this.errorRate[slot] = rate + (((failed ? 1_000_000 : 0) - rate) >> 4);
    this.sampledAt[slot] = this.#now;
    if (failed) return;
    const average = this.latencyOf(slot);
    const capped = Math.min(micros, 0x7fffffff);
    this.latency[slot] = average === 0 ? Math.max(1, capped) : average + (capped - average) / 8;
  }

  /** Clears the column of a worker that has exited. Called by the supervisor. */
  forgetWorker(worker: number): void {
    this.#inFlight[worker]!.fill(0);
  }

  /** Clears a slot for reuse by another endpoint. No worker may use the old one. */
  clearSlot(slot: number): void {
    for (let worker = 0; worker < this.#header[REACH]!; worker++) this.#inFlight[worker]![slot] = 0;
    this.latency[slot] = 0;
    this.errorRate[slot] = 0;
    this.health[slot] = 0;
    this.failures[slot] = 0;
    this.respondedAt[slot] = sharedTime(performance.now());
    this.sampledAt[slot] = 0;
  }
}

/** Ages above it are times up to a minute ahead. */
const LATE = 2 ** 32 - 60_000;

function fade(average: number, age: number): number {
  return Math.round(average * fadedBy(age));
}

function fadedBy(age: number): number {
  return 2 ** ((FRESH - age) / HALF);
}

// Cached, because the getter takes 45 ns and is used by every request.
const { timeOrigin } = performance;

/** Converts a time of this thread to one in ms that all threads share, in 32 bits: only differences are meaningful. */
function sharedTime(at: number): number {
  return (timeOrigin + at) | 0;
}
