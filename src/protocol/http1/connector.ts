/** Opens streams to an endpoint on HTTP/1 connections, idle ones first. */
import { makeProxyHeader } from "../../net/proxy-header.ts";
import type { Attempt } from "../../proxy/attempt.ts";
import type { WorkerContext } from "../../proxy/context.ts";
import type { Connector, UpstreamEvents } from "../../proxy/upstream-stream.ts";
import { ClientConnection, type UpstreamTarget } from "./client-connection.ts";
import { clientPool } from "./client-pools.ts";

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
    const { plan } = this.#target;
    const client = plan.proxyProtocol === null ? null : (attempt.exchange.client?.connection ?? null);
    const pool = client === null ? this.#target.pool : clientPool(client, this.#target.pool);
    let upstream = attempt.noReuse ? null : pool.take();
    attempt.reused = upstream !== null;
    if (upstream === null) {
      const target = client === null ? this.#target : { ...this.#target, pool };
      upstream = new ClientConnection(this.#context, this.#events, target);
      upstream.connect(
        plan.proxyProtocol === null
          ? null
          : makeProxyHeader(plan.proxyProtocol, client, attempt.exchange.tls?.serverName),
      );
    }
    attempt.stream = upstream;
    upstream.begin(attempt);
  }
}
