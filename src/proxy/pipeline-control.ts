/** What steps and events do with the pipeline: a step returns the phase that follows, an event resumes it. */
import type { WorkerContext } from "./context.ts";
import type { ProxyError } from "./error.ts";
import type { Exchange } from "./exchange.ts";

/** What the steps need that connections without a request share (`protocol/relay/`). */
export interface StepControl {
  readonly context: WorkerContext;
  /** Makes the response an error response. */
  error(x: Exchange, error: ProxyError, problem: string): number;
}

export interface PipelineControl extends StepControl {
  /** Takes an exchange from this phase on as far as it can go now. */
  advance(x: Exchange, phase: number): void;
  /** A plugin's call is suspended: the exchange continues in its current phase when the call has completed. */
  suspend(x: Exchange): number;
  /** Enforces the route's timeout while no connection's deadline does. */
  watch(x: Exchange): void;

  /** A plugin responded, rejected the request, or failed. */
  endByPlugin(x: Exchange, outcome: number): number;
  /** Ends the request by an error response, and cancels what is pending. */
  fail(x: Exchange, error: ProxyError, problem: string): void;
  /** The same in place of a response that is already in the chains, which do not process the error response. */
  respondInstead(x: Exchange, error: ProxyError, problem: string): void;
  /** The response cannot be completed: it is aborted, so that the client can detect it. */
  abortResponse(x: Exchange, problem: string): void;
  /** An exception in the proxy's own code; it ends the exchange, if there is one. */
  internal(x: Exchange | null, error: unknown): void;
}
