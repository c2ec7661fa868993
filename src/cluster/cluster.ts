/**
 * A cluster on one thread, as one version sees it: which endpoints can take a request, and which of them gets it. Health
 * is applied here, before a strategy sees anything, and what a strategy answers is checked.
 */
import type { ClusterPlan } from "../plan/plan.ts";
import type { ExchangeContext } from "../plugin/host/hook-context.ts";
import type { Instance } from "../plugin/host/instance.ts";
import { type EndpointColumns, HEALTH, MAX_ENDPOINTS } from "./columns.ts";
import type { Endpoint } from "./endpoint.ts";
import { EndpointView } from "./endpoint-view.ts";

/** An endpoint as it stands when one is picked. */
export type Candidate = {
  readonly endpoint: string;
  readonly weight: number;
  readonly zone: string;
  /** Requests in flight over all threads. */
  readonly inFlight: number;
  /** Microseconds, decaying average; 0 without a sample. */
  readonly latency: number;
  /** Milliseconds since the response that moved it last; absent without one. */
  readonly latencyAge?: number;
  /** Of attempts, decaying average: 0 to 1. */
  readonly errorRate: number;
  /** Why it could not be picked: `tried`, `full`, or what keeps traffic from it (`HEALTH`); empty when it could. */
  readonly out: string;
};

/** The request that an endpoint is picked for. */
export interface PickContext extends ExchangeContext {
  /** Endpoints of earlier attempts, by slot. */
  readonly tried: readonly number[];
  picksProbe: boolean;
}

/** An endpoint, and what opens streams to it, which the cluster only keeps. */
export type Member<Connector> = { readonly endpoint: Endpoint; readonly connector: Connector };

/** By row, 1: the exchange has tried it. Set within one call, so that each endpoint is not sought in a list. */
const TRIED = new Uint8Array(MAX_ENDPOINTS);

export class Cluster<Connector = unknown> {
  readonly index: number;
  readonly plan: ClusterPlan;
  readonly strategies: readonly Instance[];
  #members: readonly Member<Connector>[];
  /** The plugin that checks its endpoints, where one does. */
  readonly checker: Instance | null;
  readonly #columns: EndpointColumns;
  readonly #eligible: EndpointView;
  readonly #reduced: EndpointView;
  /** Ejected endpoints that one request each may try. */
  readonly #probing: Endpoint[] = [];
  readonly #connectors = new Map<number, Connector>();
  #epoch = -1;

  constructor(
    index: number,
    plan: ClusterPlan,
    parts: {
      strategies: readonly Instance[];
      members: readonly Member<Connector>[];
      columns: EndpointColumns;
      checker?: Instance | null;
    },
  ) {
    this.index = index;
    this.plan = plan;
    this.strategies = parts.strategies;
    this.#members = parts.members;
    this.checker = parts.checker ?? null;
    this.#columns = parts.columns;
    this.#eligible = new EndpointView(parts.columns);
    this.#reduced = new EndpointView(parts.columns);
    for (const member of parts.members) this.#connectors.set(member.endpoint.slot, member.connector);
  }

  get members(): readonly Member<Connector>[] {
    return this.#members;
  }

  /** Takes the endpoints of a new set; `release` follows for those that are not among them. */
  replace(members: readonly Member<Connector>[]): void {
    this.#members = members;
    for (const { endpoint, connector } of members) this.#connectors.set(endpoint.slot, connector);
    this.#epoch = -1;
  }

  /** No attempt uses the removed endpoint of that slot any more. */
  release(slot: number): void {
    if (!this.#members.some(({ endpoint }) => endpoint.slot === slot)) this.#connectors.delete(slot);
  }

  /** Opens streams to one of the cluster's endpoints. */
  connectorOf(endpoint: Endpoint): Connector {
    return this.#connectors.get(endpoint.slot)!;
  }

  /** The index of the strategy of that name; 0, the default, where the cluster has none. */
  strategyNamed(name: string | undefined): number {
    for (const [index, strategy] of this.plan.strategies.entries()) if (strategy.name === name) return index;
    return 0;
  }

  /** The endpoint for the exchange's next attempt, or null when none can take it. */
  pick(exchange: PickContext, strategy: number): Endpoint | null {
    if (this.#epoch !== this.#columns.epoch()) this.#refresh();
    if (this.#probing.length > 0) {
      const endpoint = this.#claimProbe(exchange);
      if (endpoint !== null) return endpoint;
    }
    const view = this.#present(exchange);
    if (view.count === 0) return null;
    const index = (this.strategies[strategy] ?? this.strategies[0])?.pick(exchange, view) ?? -1;
    if (index >= 0 && index < view.count) return view.list[index]!;
    return this.#pickNatively(view);
  }

  /** All endpoints as they stand for the exchange, those that cannot take it too. */
  candidates({ tried }: Pick<PickContext, "tried">): Candidate[] {
    const columns = this.#columns;
    const limit = this.plan.pool.connections;
    return this.#members.map(({ endpoint }) => {
      const { slot, address, weight, zone } = endpoint;
      const inFlight = columns.inFlight(slot);
      const state = Object.entries(HEALTH).find(([, bit]) => (columns.health[slot]! & bit) !== 0)?.[0];
      const out = state ?? (tried.includes(slot) ? "tried" : limit > 0 && inFlight >= limit ? "full" : "");
      const latency = columns.latencyOf(slot);
      const age = latency === 0 ? {} : { latencyAge: columns.latencyAgeOf(slot) };
      const errorRate = columns.errorRateOf(slot) / 1e6;
      return { endpoint: address, weight, zone, inFlight, latency, ...age, errorRate, out };
    });
  }

  /** Whether an endpoint but the present one can take the exchange's request: for a further attempt. */
  hasOther(exchange: PickContext): boolean {
    if (this.#epoch !== this.#columns.epoch()) this.#refresh();
    const { list, count } = this.#present(exchange);
    for (let i = 0; i < count; i++) if (list[i] !== exchange.endpoint) return true;
    return false;
  }

  /** Rebuilds the eligible set; it changes only when the epoch word moves, never for a request. */
  #refresh(): void {
    this.#epoch = this.#columns.epoch();
    const { set, passive } = this.plan;
    const ignored = this.#columns.ignoredBits(set.endpoints, passive?.panic ?? 0);
    this.#eligible.clear();
    this.#probing.length = 0;
    for (const { endpoint } of this.#members) {
      const state = this.#columns.health[endpoint.slot]!;
      if ((state & ~ignored) === 0) this.#eligible.push(endpoint);
      else if (state === (HEALTH.ejected | HEALTH.probing)) this.#probing.push(endpoint);
    }
    for (const strategy of this.strategies) strategy.update(this.#eligible);
  }

  /** An ejected endpoint that no other worker has claimed meanwhile, or null. */
  #claimProbe(exchange: PickContext): Endpoint | null {
    for (let at = 0; at < this.#probing.length; ) {
      const endpoint = this.#probing[at]!;
      if (exchange.tried.includes(endpoint.slot)) {
        at++;
        continue;
      }
      this.#probing.splice(at, 1);
      if (!this.#columns.claimProbe(endpoint.slot)) continue;
      exchange.picksProbe = true;
      return endpoint;
    }
    return null;
  }

  /** The eligible endpoints but those already tried and those whose pool is full. */
  #present(exchange: PickContext): EndpointView {
    const { tried } = exchange;
    const limit = this.plan.pool.connections;
    const all = this.#eligible;
    if (tried.length === 0 && limit === 0) return all;
    const rest = this.#reduced;
    rest.clear();
    for (let i = 0; i < tried.length; i++) TRIED[tried[i]!] = 1;
    for (let i = 0; i < all.count; i++) {
      const endpoint = all.list[i]!;
      if (TRIED[endpoint.slot] === 1) continue;
      if (limit > 0 && this.#columns.inFlight(endpoint.slot) >= limit) continue;
      rest.push(endpoint);
    }
    for (let i = 0; i < tried.length; i++) TRIED[tried[i]!] = 0;
    return rest.count === all.count ? all : rest;
  }

  /** Least requests in flight for its weight, from a random start: for when no strategy answers. */
  #pickNatively(view: EndpointView): Endpoint {
    const start = Math.floor(Math.random() * view.count);
    let best = view.list[start]!;
    let least = Number.POSITIVE_INFINITY;
    for (let i = 0; i < view.count; i++) {
      const endpoint = view.list[(start + i) % view.count]!;
      const load = (this.#columns.inFlight(endpoint.slot) + 1) / endpoint.weight;
      if (load < least) {
        least = load;
        best = endpoint;
      }
    }
    return best;
  }
}
