/** Opens streams to an endpoint on HTTP/1 connections, idle ones first. */
import type { Endpoint } from "../../cluster/endpoint.ts";
import type { Pool } from "../../cluster/pool.ts";
import type { ClusterPlan } from "../../plan/plan.ts";
import type { Attempt } from "../../proxy/attempt.ts";
import type { ThreadContext } from "../../proxy/context.ts";
import type { Connector, UpstreamEvents } from "../../proxy/upstream-stream.ts";
import { ClientConnection } from "./client-connection.ts";

/** The endpoint as one version has it; the pool outlives versions. */
export type UpstreamTarget = {
  readonly endpoint: Endpoint;
  readonly pool: Pool<ClientConnection>;
  readonly plan: ClusterPlan;
};

export class UpstreamConnector implements Connector {
  readonly #context: ThreadContext;
  readonly #events: UpstreamEvents;
  readonly #target: UpstreamTarget;

  constructor(context: ThreadContext, events: UpstreamEvents, target: UpstreamTarget) {
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
