/**
 * The plugin host of one data thread, as the rest of the thread sees it. (Contract; see `chain.ts` and `guest.ts`.)
 */
import type { EndpointView } from "../balance/endpoint-view.ts";
import type { Exchange } from "../proxy/exchange.ts";

/** What a call of a hook came to. */
export const OUTCOME = {
  continue: 0,
  respond: 1,
  reject: 2,
  /** The plugin failed and its policy is `reject`; the failure is counted and logged already. */
  failed: 3,
} as const;

/** One configuration of one plugin on this thread. */
export interface Instance {
  /** Index in the plan. */
  readonly index: number;
  readonly plugin: string;
  /** Bit mask of the hooks that it exports (`1 << HOOK.pick`). */
  readonly hooks: number;
  /** Calls a head, route, outcome or log hook: one of OUTCOME. A failure under `skip` answers `continue`. */
  call(hook: number, exchange: Exchange): number;
  /** Tells a strategy its endpoints. False: it failed; picks are then native until the next update. */
  update(view: EndpointView): boolean;
  /** An index into the view, -1 for none, -2 when it failed (native pick for this request). */
  pick(exchange: Exchange, view: EndpointView): number;
}
