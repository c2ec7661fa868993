/**
 * What all threads know of each endpoint, in one shared buffer of fixed size: dense Int32 columns, one row (slot) an
 * endpoint, and for each thread a column of its own of requests in flight, which the supervisor clears when that thread
 * has ended. In-flight is exact: each thread writes its own column alone, and who asks adds them up. (Two atomic
 * additions to one shared column cost each request 170 ns; adding up costs a reader one load a thread.) Averages may
 * lose an update between threads. There are columns for more threads than run at first, since their number may change;
 * memory that is not touched costs nothing, and only the columns of threads that ever ran are added up.
 */
export const MAX_ENDPOINTS = 65_536;

/**
 * Bits of the health column; 0 is an endpoint that takes traffic. `probing` stands beside `ejected`: the next request
 * decides whether the endpoint is back.
 */
export const HEALTH = { unhealthy: 1, ejected: 2, draining: 4, disabled: 8, probing: 16 } as const;

const EPOCH = 0;
/** Threads that ever ran: the highest number, plus 1. */
const REACH = 1;
const HEADER_WORDS = 16;
const SHARED_COLUMNS = 6;

/**
 * What an average says of an endpoint without traffic fades: it stands for FRESH ms after the sample that moved it last,
 * then halves every HALF ms. So one that was slow once is tried again, where a strategy would avoid it for ever.
 */
const FRESH = 10_000;
const HALF = 10_000;

export class EndpointColumns {
  readonly buffer: SharedArrayBuffer;
  /** Microseconds, decaying average as the last response left it (`latencyOf`); 0 without a sample. */
  readonly latency: Int32Array<SharedArrayBuffer>;
  /** Parts per million, decaying average as the last attempt left it (`errorRateOf`). */
  readonly errorRate: Int32Array<SharedArrayBuffer>;
  readonly health: Int32Array<SharedArrayBuffer>;
  /** Failed attempts since the last response. */
  readonly failures: Int32Array<SharedArrayBuffer>;
  /** When the last response was received (`sharedTime`). */
  readonly respondedAt: Int32Array<SharedArrayBuffer>;
  /** When the last attempt ended (`sharedTime`), to about 50 ms; 0: never. */
  readonly sampledAt: Int32Array<SharedArrayBuffer>;
  readonly #header: Int32Array<SharedArrayBuffer>;
  readonly #inFlight: Int32Array<SharedArrayBuffer>[];
  #now = sharedTime(performance.now());

  /** With room for threads numbered below `places`, of which those below `threads` are added up. */
  static allocate(threads: number, places = threads): EndpointColumns {
    const words = HEADER_WORDS + (SHARED_COLUMNS + places) * MAX_ENDPOINTS;
    const columns = new EndpointColumns(new SharedArrayBuffer(words * 4));
    columns.#header[REACH] = threads;
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

  /**
   * Moves whenever an eligible set must be made anew: health, drain, ejection. A plain load, since it is read for each
   * request: it may come late by one, never torn.
   */
  epoch(): number {
    return this.#header[EPOCH]!;
  }

  bumpEpoch(): void {
    Atomics.add(this.#header, EPOCH, 1);
  }

  /** Sets or clears a bit of HEALTH, and has eligible sets made anew where that changed it. */
  mark(slot: number, bit: number, on: boolean): void {
    const before = on ? Atomics.or(this.health, slot, bit) : Atomics.and(this.health, slot, ~bit);
    if (((before & bit) !== 0) !== on) this.bumpEpoch();
  }

  /** Takes an endpoint out for the requests that it has failed. */
  eject(slot: number): void {
    this.mark(slot, HEALTH.ejected, true);
  }

  /** The next request, of any worker, may go to the ejected endpoint. */
  offerProbe(slot: number): void {
    const before = Atomics.or(this.health, slot, HEALTH.probing);
    // A worker may give a probe back when the ejection is over.
    if ((before & HEALTH.ejected) === 0) Atomics.and(this.health, slot, ~HEALTH.probing);
    this.bumpEpoch();
  }

  endEjection(slot: number): void {
    this.failures[slot] = 0;
    this.mark(slot, HEALTH.ejected | HEALTH.probing, false);
  }

  /** Takes the one request that a probing endpoint is due; false: another thread was earlier. */
  claimProbe(slot: number): boolean {
    return (Atomics.and(this.health, slot, ~HEALTH.probing) & HEALTH.probing) !== 0;
  }

  /** An attempt has got a response at `at` (performance.now()). */
  responded(slot: number, at: number): void {
    this.respondedAt[slot] = sharedTime(at);
    if (this.failures[slot] !== 0) this.failures[slot] = 0;
  }

  /** Counts a failed attempt; how many there were in a row. */
  addFailure(slot: number): number {
    return Atomics.add(this.failures, slot, 1) + 1;
  }

  /** Whether a response was received from the endpoint after `at` (performance.now()). */
  respondedSince(slot: number, at: number): boolean {
    return ((this.respondedAt[slot]! - sharedTime(at)) | 0) > 0;
  }

  /** Bits of HEALTH that these endpoints may have and still get requests: ejections, where less than the share `panic` is left. */
  ignoredBits(endpoints: readonly { readonly slot: number }[], panic: number): number {
    let left = 0;
    for (const { slot } of endpoints) if (this.health[slot] === 0) left++;
    return left < panic * endpoints.length ? HEALTH.ejected | HEALTH.probing : 0;
  }

  /** From now on that thread's column is added up as well. The main thread's, before the thread begins. */
  addThread(thread: number): void {
    if (thread >= this.#header[REACH]!) Atomics.store(this.#header, REACH, thread + 1);
  }

  /** One request more (`by` 1) or less (-1) in flight on `slot`, said by `thread`. */
  addInFlight(thread: number, slot: number, by: number): void {
    this.#inFlight[thread]![slot]! += by;
  }

  /** Requests in flight on `slot`, of one thread. */
  inFlightOf(thread: number, slot: number): number {
    return this.#inFlight[thread]![slot]!;
  }

  /** Requests in flight on `slot` over all threads. */
  inFlight(slot: number): number {
    const columns = this.#inFlight;
    const reach = this.#header[REACH]!;
    let sum = 0;
    for (let thread = 0; thread < reach; thread++) sum += columns[thread]![slot]!;
    return sum;
  }

  /** The present moment (performance.now()), for the ages of averages; this thread's alone. */
  moveTo(at: number): void {
    this.#now = sharedTime(at);
  }

  /** Microseconds, decaying average to the response's head, faded by its age; 0 without a sample. */
  latencyOf(slot: number): number {
    const average = this.latency[slot]!;
    const age = this.#ageOf(this.respondedAt[slot]!);
    return age <= FRESH || average === 0 ? average : Math.max(1, fade(average, age));
  }

  /** Milliseconds since the response that moved the latency last; 0 without a sample. */
  latencyAgeOf(slot: number): number {
    return this.latency[slot] === 0 ? 0 : this.#ageOf(this.respondedAt[slot]!);
  }

  /** Parts per million, decaying average of failed attempts, faded by its age. */
  errorRateOf(slot: number): number {
    const rate = this.errorRate[slot]!;
    const age = this.#ageOf(this.sampledAt[slot]!);
    return age <= FRESH ? rate : fade(rate, age);
  }

  /** Makes `latencyOf` and `latencyAgeOf` return these: for copies of the columns. */
  setLatency(slot: number, micros: number, age: number): void {
    this.latency[slot] = age <= FRESH ? micros : Math.min(0x7fffffff, Math.round(micros / fadedBy(age)));
    this.respondedAt[slot] = this.#now - age;
  }

  /** At most 24 days; 0 for a moment that is only now to come, as another thread's may be, and for none. */
  #ageOf(time: number): number {
    const age = (this.#now - time) >>> 0;
    return time === 0 || age > LATE ? 0 : Math.min(age, 0x7fffffff);
  }

  /**
   * What an attempt came to: moves the averages by 1/8 (latency) and 1/16 (errors) of the difference. Before `responded`,
   * since what an average was counts by its age.
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

  /** Forgets what an ended thread had in flight. The supervisor's. */
  forgetThread(thread: number): void {
    this.#inFlight[thread]!.fill(0);
  }

  /** Makes a slot like new, for another endpoint. Only when no thread uses the old one. */
  clearSlot(slot: number): void {
    for (let thread = 0; thread < this.#header[REACH]!; thread++) this.#inFlight[thread]![slot] = 0;
    this.latency[slot] = 0;
    this.errorRate[slot] = 0;
    this.health[slot] = 0;
    this.failures[slot] = 0;
    this.respondedAt[slot] = sharedTime(performance.now());
    this.sampledAt[slot] = 0;
  }
}

/** An age above it is no age: a time that lies ahead by up to a minute. */
const LATE = 2 ** 32 - 60_000;

function fade(average: number, age: number): number {
  return Math.round(average * fadedBy(age));
}

function fadedBy(age: number): number {
  return 2 ** ((FRESH - age) / HALF);
}

// Its getter takes 45 ns, on the way of every request.
const { timeOrigin } = performance;

/** A time of this thread in ms that all threads agree on, in 32 bits: only differences mean anything. */
function sharedTime(at: number): number {
  return (timeOrigin + at) | 0;
}
