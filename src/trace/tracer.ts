/** Decides which requests of one configuration are traced: those with the debug token, and a sample. */
import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import type { TracePlan } from "../plan/plan.ts";
import type { Exchange } from "../proxy/exchange.ts";
import type { ExchangeTracer } from "../proxy/snapshot.ts";
import { Mask } from "./mask.ts";
import type { TraceRecord } from "./record.ts";
import { Trace } from "./trace.ts";

/** Most traces of one worker in a second. */
const RATE = 50;
const SECOND = 1000;

/** Receives a trace that has ended, and how many requests were not traced since because of the rate limit. */
export type TraceSink = (record: TraceRecord, dropped: number) => void;

/** Null if the configuration traces no request. */
export function makeTracer(plan: TracePlan, ended: TraceSink): Tracer | null {
  return plan.token === "" && plan.sample === 0 ? null : new Tracer(plan, ended);
}

export class Tracer implements ExchangeTracer {
  readonly mask: Mask;
  readonly #header: Buffer;
  /** A digest, so that comparing takes the same time for any length. Null: no token is configured. */
  readonly #token: Buffer | null;
  readonly #sample: number;
  #from = Number.NEGATIVE_INFINITY;
  #begun = 0;
  /** Requests that were not traced because of the rate limit. */
  dropped = 0;

  readonly #ended: (record: TraceRecord) => void;

  constructor({ header, token, sample, mask }: TracePlan, ended: TraceSink) {
    this.#ended = (record) => {
      const { dropped } = this;
      this.dropped = 0;
      ended(record, dropped);
    };
    this.mask = new Mask(mask);
    this.#header = Buffer.from(header, "latin1");
    this.#token = token === "" ? null : digest(Buffer.from(token));
    this.#sample = sample;
  }

  /** Removes the token header, whatever its value, and starts a trace if the request is to be traced. */
  consider(x: Exchange): void {
    const hasToken = this.#token !== null && this.#takeToken(x, this.#token);
    if (x.trace !== null || !(hasToken || (this.#sample > 0 && Math.random() < this.#sample))) return;
    if (!this.#mayBegin()) {
      this.dropped++;
      return;
    }
    const why: TraceRecord["why"] = hasToken ? "token" : "sample";
    x.trace = new Trace(x, { id: randomBytes(8).toString("hex"), why, mask: this.mask, ended: this.#ended });
  }

  #takeToken({ request }: Exchange, token: Buffer): boolean {
    const header = this.#header;
    let right = false;
    for (;;) {
      const index = request.find(header, 0, header.length);
      if (index < 0) return right;
      const value = request.bytes.subarray(request.valueStart(index), request.valueEnd(index));
      if (timingSafeEqual(digest(value), token)) right = true;
      request.removeAt(index);
    }
  }

  #mayBegin(): boolean {
    const now = performance.now();
    if (now - this.#from >= SECOND) {
      this.#from = now;
      this.#begun = 0;
    }
    return ++this.#begun <= RATE;
  }
}

function digest(value: Uint8Array): Buffer {
  return createHash("sha256").update(value).digest();
}
