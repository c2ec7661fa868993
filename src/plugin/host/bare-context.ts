/** The base of hook contexts without a request: of a connection, a health check. */

import type { Proxied } from "../../net/proxy-protocol.ts";
import type { ExchangeValue } from "../abi/exchange-value.ts";
import type { ExchangeMemory } from "../abi/host-memory.ts";
import type { EndpointTarget, HookCaller, HookContext, HookTrace, Suspension, VersionChoice } from "./hook-context.ts";

export class BareContext implements HookContext {
  id = 0;
  readonly exchange = null;
  caller: HookCaller | null = null;
  clientAddress = "";
  listenerName = "";
  proxied: Proxied | null = null;
  clusterName = "";
  endpoint: EndpointTarget | null = null;
  readonly isSubrequest = false;
  deadline = 0;
  trace: HookTrace | null = null;
  chosenCluster = -1;
  respondedBy = "";
  values: Map<string, ExchangeValue> | null = null;
  pluginMemory: ExchangeMemory[] | null = null;
  skipped: Set<number> | null = null;
  canaryChoices: Map<number, VersionChoice> | null = null;
  suspension: Suspension | null = null;

  suspend(_hook: number, call: Suspension): void {
    this.suspension = call;
  }

  /** The context has ended: releases the memory charged to plugins. */
  release(): void {
    for (const account of this.pluginMemory ?? []) account.release();
    this.pluginMemory = null;
    this.suspension = null;
  }
}
