/** Records what happens to a traced request. `trace/` implements it; a request that is not traced has none. */
import type { HookTrace } from "../plugin/host/hook-context.ts";
import type { Attempt } from "./attempt.ts";
import type { Exchange } from "./exchange.ts";

export interface ExchangeTrace extends HookTrace {
  /** Routes from index `from` to `to` were evaluated; `to` matched, or is -1. */
  routesEvaluated(x: Exchange, from: number, to: number): void;
  /** The route that was selected; null without one, `ambiguous` because readings of the path select different ones. */
  routed(route: string | null, ambiguous?: boolean): void;
  clusterTaken(x: Exchange): void;
  /** The endpoint that a strategy picked, by address; null without one. */
  picked(x: Exchange, strategy: number, endpoint: string | null): void;
  /** An attempt has ended; `status` is 0 without response headers. */
  attempted(attempt: Attempt, status: number, failed: boolean): void;
  /** The response headers are about to be sent. */
  addIdHeader(x: Exchange): void;
  /** The exchange has ended. */
  finish(x: Exchange): void;
}

/** Selects the requests of one configuration that are traced. */
export interface ExchangeTracer {
  /** Sets `x.trace` if the request is to be traced. */
  consider(x: Exchange): void;
}
