/** The interface by which chains, routers and strategies call a plugin. */
import type { EndpointList, ExchangeContext, HookContext } from "./hook-context.ts";

/** One configuration of one plugin on this worker. */
export interface Instance {
  /** Index in the plan. */
  readonly index: number;
  readonly plugin: string;
  /** Bit mask of the hooks that it exports (`1 << HOOK.pick`), and of REWRITES. */
  readonly hooks: number;
  /** Most bytes of a body that it can buffer or add. Larger messages are rejected, or skip the plugin. */
  readonly bodyLimit: number;
  readonly refusesTooLarge: boolean;
  /** Whether it may choose a cluster of that name. */
  mayChoose(cluster: string): boolean;
  /** Calls a hook that has a context; returns an OUTCOME. A failure under `skip` is `continue`. */
  call(hook: number, target: HookContext): number;
  /** Passes the endpoints to a strategy. False: it failed; picks are then native until the next update. */
  update(view: EndpointList): boolean;
  /** Returns an index into the view, -1 for none, -2 if it failed (native pick for this request). */
  pick(exchange: ExchangeContext, view: EndpointList): number;
}
