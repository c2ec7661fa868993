/** Opens streams to an endpoint on HTTP/1 connections, idle ones first. */
import type { Attempt } from "../../proxy/attempt.ts";
import type { WorkerContext } from "../../proxy/context.ts";
import type { Connector, UpstreamEvents } from "../../proxy/upstream-stream.ts";
import { ClientConnection, type UpstreamTarget } from "./client-connection.ts";

export class UpstreamConnector implements Connector {
  readonly #context: WorkerContext;
  readonly #events: UpstreamEvents;
  readonly #target: UpstreamTarget;

  constructor(context: WorkerContext, events: UpstreamEvents, target: UpstreamTarget) {
    this.#context = context;
    this.#events = events;
    this.#target = target;
  }

  open(attempt: Attempt): void {
    let upstream = attempt.noReuse ? null : this.#target.pool.take();
    attempt.reused = upstream !== null;
    if (upstream === null) {
      upstream = new ClientConnection(this.#context, this.#events, this.#target);
      upstream.connect();
    }
    attempt.stream = upstream;
    upstream.begin(attempt);
  }
}
