/** The chains of an exchange: the listener's, then the route's. */
import type { ExchangeContext } from "../plugin/host/hook-context.ts";
import type { Instance } from "../plugin/host/instance.ts";

type Chain = { readonly chain: readonly Instance[] };

export interface Chained extends ExchangeContext {
  readonly listener: Chain | null;
  /** Null before a route matched. */
  readonly route: Chain | null;
  /** Instances of each chain whose request hook was called. */
  readonly enteredListener: number;
  readonly enteredRoute: number;
}

/** The plugins of both chains that have seen the request. */
export function countEntered({ enteredListener, enteredRoute }: Chained): number {
  return enteredListener + enteredRoute;
}

/** One of them, in the order in which they saw it. */
export function instanceAt(x: Chained, at: number): Instance {
  const { chain } = x.listener!;
  return at < x.enteredListener ? chain[at]! : x.route!.chain[at - x.enteredListener]!;
}
