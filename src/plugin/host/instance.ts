/** A plugin as chains, routers and strategies call it. */
import type { EndpointList, ExchangeContext, HookContext } from "./hook-context.ts";

/** One configuration of one plugin on this worker. */
export interface Instance {
  /** Index in the plan. */
  readonly index: number;
  readonly plugin: string;
  /** Bit mask of the hooks that it exports (`1 << HOOK.pick`), and of REWRITES. */
  readonly hooks: number;
  /** Bytes of a body that it may hold, and add to one; whether a message above that is refused, or passes it over. */
  readonly bodyLimit: number;
  readonly refusesTooLarge: boolean;
  /** Whether it may choose a cluster of that name. */
  mayChoose(cluster: string): boolean;
  /** Calls the hook of a connection, a head, a body or what is over: one of OUTCOME. A failure under `skip` answers `continue`. */
  call(hook: number, target: HookContext): number;
  /** Tells a strategy its endpoints. False: it failed; picks are then native until the next update. */
  update(view: EndpointList): boolean;
  /** An index into the view, -1 for none, -2 when it failed (native pick for this request). */
  pick(exchange: ExchangeContext, view: EndpointList): number;
}
