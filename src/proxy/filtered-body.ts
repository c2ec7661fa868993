/**
 * The body of one direction on its way through body filters: each chunk goes through the body hooks of the plugins that
 * have seen the request, the request's in their order, the response's backwards. An exchange has one for a direction in
 * which a plugin filters the body, or delays the headers until the body is complete (it buffers the body).
 */
import { HOOK, REWRITES } from "../abi/abi.ts";
import type { Head } from "../http/head.ts";
import type { Connection } from "../net/connection.ts";
import type { PendingBuffer } from "../net/pending-buffer.ts";
import type { BodyContext, Suspension } from "../plugin/host/hook-context.ts";
import type { Instance } from "../plugin/host/instance.ts";
import { OUTCOME } from "../plugin/host/outcome.ts";
import { type Chained, countEntered, instanceAt } from "./chains.ts";
import { Chunk } from "./chunk.ts";

type Direction = {
  readonly body: number;
  readonly trailers: number;
  readonly rewrites: number;
  readonly isReversed: boolean;
};

const REQUEST: Direction = {
  body: HOOK.request_body,
  trailers: HOOK.request_trailers,
  rewrites: REWRITES.request,
  isReversed: false,
};
const RESPONSE: Direction = {
  body: HOOK.response_body,
  trailers: HOOK.response_trailers,
  rewrites: REWRITES.response,
  isReversed: true,
};

export class FilteredBody implements BodyContext {
  readonly chunk = new Chunk();
  /** The headers are delayed until the body is complete. */
  buffered = false;
  /** The headers have passed: the rest of the body is filtered chunk by chunk. */
  streaming = false;
  /** Bytes received while the headers are delayed, or filtered while more was received. */
  pending: PendingBuffer | null = null;
  /** The call that is suspended, and the outcome of one that was (-1: there is none). */
  suspension: Suspension | null = null;
  outcome = -1;

  /** Of a streaming request: its sender, the bytes received while a call is suspended, and whether all were forwarded. */
  source: Connection | null = null;
  queue: PendingBuffer | null = null;
  passed = false;

  readonly #direction: Direction;
  /** Plugins for which the body is buffered; null: none, or it is complete. */
  #bufferedBy: Instance[] | null = null;
  /** Instances whose hook is not called, by index: the body is over their limit. */
  #bypassed: Set<number> | null = null;
  /** Plugins that the chunk has gone through. */
  #position = 0;

  constructor(direction: Direction) {
    this.#direction = direction;
  }

  /** Buffers the body for `instance`, up to the smallest limit of the instances that buffer it. */
  bufferFor(instance: Instance): void {
    this.buffered = true;
    (this.#bufferedBy ??= []).push(instance);
  }

  /** More of the body is to be buffered. */
  get awaitsMore(): boolean {
    return this.#bufferedBy !== null;
  }

  /** The buffered body is complete. */
  complete(): void {
    this.#bufferedBy = null;
  }

  /** The call for a chunk that follows the headers is suspended. */
  get isSuspended(): boolean {
    return this.streaming && this.suspension !== null;
  }

  /**
   * Checks the size of a buffered body. Plugins whose limit it exceeds, and whose `tooLarge` is `skip`, are bypassed.
   * Returns false when one of them has the message rejected.
   */
  fits(size: number): boolean {
    const bufferedBy = this.#bufferedBy;
    if (bufferedBy === null) return true;
    for (let i = bufferedBy.length - 1; i >= 0; i--) {
      const instance = bufferedBy[i]!;
      if (size <= instance.bodyLimit) continue;
      if (instance.refusesTooLarge) return false;
      (this.#bypassed ??= new Set()).add(instance.index);
      bufferedBy.splice(i, 1);
    }
    if (bufferedBy.length === 0) this.#bufferedBy = null;
    return true;
  }

  /** The current chunk is the last, and no plugin has seen it yet. */
  get isAtEnd(): boolean {
    return this.chunk.last && this.#position === 0 && this.outcome < 0;
  }

  /** One of REWRITES. */
  get rewrites(): number {
    return this.#direction.rewrites;
  }

  /**
   * Calls the plugins with the current chunk: OUTCOME.continue when all have seen it, else the outcome that ends it. Called
   * again after a suspended call, it continues after that plugin. `trailers` follow the last chunk.
   */
  filter(x: Chained, trailers: Head | null): number {
    const { chunk } = this;
    const { body } = this.#direction;
    const total = countEntered(x);
    if (chunk.isEmpty && this.outcome < 0) return OUTCOME.continue;
    const ends = chunk.last && trailers !== null;
    for (; this.#position < total; this.#position++) {
      const instance = this.#instanceAt(x, this.#position, total);
      if (((instance.hooks >>> body) & 1) === 0 || this.#bypassed?.has(instance.index)) continue;
      const outcome = this.outcome >= 0 ? this.outcome : instance.call(body, x);
      this.outcome = -1;
      if (outcome !== OUTCOME.continue) return outcome;
      chunk.accept();
    }
    this.#position = 0;
    return ends ? this.#filterTrailers(x, total) : OUTCOME.continue;
  }

  #filterTrailers(x: Chained, total: number): number {
    const { trailers } = this.#direction;
    for (let i = 0; i < total; i++) {
      const instance = this.#instanceAt(x, i, total);
      if (((instance.hooks >>> trailers) & 1) === 0) continue;
      const outcome = instance.call(trailers, x);
      if (outcome !== OUTCOME.continue) return outcome;
    }
    return OUTCOME.continue;
  }

  #instanceAt(x: Chained, position: number, total: number): Instance {
    return instanceAt(x, this.#direction.isReversed ? total - 1 - position : position);
  }

  /** Cancels a suspended call, which restores what it has changed. */
  cancel(): void {
    this.suspension?.cancel();
    this.suspension = null;
    this.outcome = -1;
    this.#position = 0;
  }
}

/** An exchange's request body, from now on filtered or buffered. */
export function requestBody(x: { requestBody: FilteredBody | null }): FilteredBody {
  return (x.requestBody ??= new FilteredBody(REQUEST));
}

/** The same of its response. */
export function responseBody(x: { responseBody: FilteredBody | null }): FilteredBody {
  return (x.responseBody ??= new FilteredBody(RESPONSE));
}
