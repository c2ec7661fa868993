/** Records what happens to a traced request. `trace/` implements it; a request that is not traced has none. */
import type { HookTrace } from "../plugin/host/hook-context.ts";
import type { ProxyError } from "./error.ts";

/** What is recorded of an attempt. */
export interface TracedAttempt {
  readonly endpoint: { readonly address: string } | null;
  readonly startedAt: number;
  readonly respondedAt: number;
  readonly reused: boolean;
  /** One of VERSION: of the response; -1 without one. */
  readonly version: number;
  readonly error: ProxyError | null;
  readonly problem: string;
}

export interface ExchangeTrace extends HookTrace {
  /** Routes from index `from` to `to` were evaluated; `to` matched, or is -1. */
  routesEvaluated(from: number, to: number): void;
  /** The route that was selected; null without one, `ambiguous` because readings of the path select different ones. */
  routed(route: string | null, ambiguous?: boolean): void;
  clusterTaken(): void;
  /** The endpoint that a strategy picked, by address; null without one. */
  picked(strategy: number, endpoint: string | null): void;
  /** An attempt has ended; `status` is 0 without response headers. */
  attempted(attempt: TracedAttempt, status: number, failed: boolean): void;
  /** The response headers are about to be sent. */
  addIdHeader(): void;
  /** The exchange has ended. */
  finish(): void;
}
