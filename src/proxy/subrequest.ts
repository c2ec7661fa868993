/** A plugin's subrequest to a cluster, with its strategies, pools, retries and counts; its response is buffered. */

import { STATUS } from "../abi/abi.ts";
import type { Head } from "../http/head.ts";
import { scanRequest } from "../http1/scan.ts";
import type { Connection } from "../net/connection.ts";
import { PendingBuffer } from "../net/pending-buffer.ts";
import type { FetchRequest, FetchResponse } from "../plugin/host/fetcher.ts";
import type { Downstream } from "./downstream.ts";
import { ERROR } from "./error.ts";
import type { Exchange } from "./exchange.ts";
import type { Pipeline } from "./pipeline.ts";
import type { Snapshot } from "./snapshot.ts";

const HEAD_LIMITS = { head: 1024 * 1024, target: 64 * 1024, headers: 1000 };
/** It sends the plugin's headers only. */
const NOTHING = Buffer.alloc(0);
const CONTENT_LENGTH = "content-length: ";

class Subrequest implements Downstream {
  readonly peer = "";
  readonly scheme = "http";
  readonly tls = null;
  readonly connection = null;
  readonly forwarded = NOTHING;
  readonly alive = true;
  readonly #pipeline: Pipeline;
  readonly #most: number;
  #completed: ((response: FetchResponse | number) => void) | null;
  #exchange: Exchange | null = null;
  #timer: NodeJS.Timeout | null = null;
  #head: Head | null = null;
  readonly #body = new PendingBuffer();
  /** The result without a response: a STATUS below zero. */
  #failure: number = STATUS.unreachable;

  constructor(pipeline: Pipeline, most: number, completed: (response: FetchResponse | number) => void) {
    this.#pipeline = pipeline;
    this.#most = most;
    this.#completed = completed;
  }

  start(request: FetchRequest, snapshot: Snapshot, cluster: number): void {
    const x = this.#pipeline.exchanges.take();
    this.#exchange = x;
    x.client = this;
    x.isSubrequest = true;
    x.listener = snapshot.subrequests!.listener;
    x.route = snapshot.subrequests!.route;
    x.cluster = snapshot.clusters[cluster]!;
    x.clusterName = x.cluster.plan.name;
    x.headAt = x.startedAt = performance.now();
    x.deadline = x.headAt + request.timeout;
    x.requestComplete = true;
    const head = withLength(request);
    scanRequest(head, 0, head.length, x.request, HEAD_LIMITS);
    if (request.body.length > 0) x.keep(request.body, 0, request.body.length);
    this.#timer = setTimeout(() => this.#abort(STATUS.timedOut), request.timeout);
    this.#pipeline.requests.beginSubrequest(x);
  }

  cancel(): void {
    this.#completed = null;
    this.#abort(STATUS.unreachable);
  }

  #abort(status: number): void {
    this.#failure = status;
    if (this.#exchange !== null) this.#pipeline.requests.gone(this.#exchange, "the plugin's subrequest was cancelled");
  }

  // ── Downstream ────────────────────────────────────────────────────────────────────────────────────────────────

  sendHeaders(): boolean {
    const x = this.#exchange!;
    x.headSent = true;
    if (x.error !== null) {
      if (x.error === ERROR.responseTimeout || x.error === ERROR.connectTimeout) this.#failure = STATUS.timedOut;
    } else {
      this.#head = x.response.copy();
      if (x.attempt.body !== null) this.#buffer(x, x.attempt.body);
    }
    return true;
  }

  sendBody(_source: Connection | null, bytes: Buffer): boolean {
    this.#buffer(this.#exchange!, bytes);
    return true;
  }

  #buffer(x: Exchange, bytes: Buffer): void {
    if (this.#body.length + x.attempt.bodyEnd - x.attempt.bodyStart > this.#most) {
      this.#head = null;
      this.#failure = STATUS.tooLarge;
      // Not now: the exchange is executing a step.
      setImmediate(() => this.#abort(STATUS.tooLarge));
    } else if (this.#failure !== STATUS.tooLarge) this.#body.append(bytes, x.attempt.bodyStart, x.attempt.bodyEnd);
  }

  sendInterim(): void {}

  resumeBody(): void {}

  /** The exchange ends without a complete response. */
  reset(): void {
    this.#head = null;
  }

  finished(): void {
    this.#exchange = null;
    if (this.#timer !== null) clearTimeout(this.#timer);
    const completed = this.#completed;
    this.#completed = null;
    if (completed === null) return;
    const { bytes, start, end } = this.#body;
    completed(this.#head === null ? this.#failure : { head: this.#head, body: bytes.subarray(start, end) });
  }
}

/** Sends a plugin's request to a cluster. Returns a function that cancels it. */
export function sendSubrequest(
  pipeline: Pipeline,
  request: FetchRequest,
  { snapshot, cluster }: { readonly snapshot: Snapshot; readonly cluster: number },
  completed: (response: FetchResponse | number) => void,
): () => void {
  const subrequest = new Subrequest(pipeline, request.most, completed);
  subrequest.start(request, snapshot, cluster);
  return () => subrequest.cancel();
}

/** The head, with Content-Length if there is a body. */
function withLength({ head, body }: FetchRequest): Buffer {
  if (body.length === 0) return head;
  const end = Buffer.from(`${CONTENT_LENGTH}${body.length}\r\n\r\n`);
  return Buffer.concat([head.subarray(0, head.length - 2), end]);
}
