/**
 * A cluster of one snapshot on one worker: determines the eligible endpoints and picks one for each attempt. Health and
 * limits are applied before a strategy is called, and its result is validated.
 */
import type { ClusterPlan } from "../plan/plan.ts";
import type { ExchangeContext } from "../plugin/host/hook-context.ts";
import type { Instance } from "../plugin/host/instance.ts";
import { type EndpointColumns, HEALTH, MAX_ENDPOINTS } from "./columns.ts";
import type { Endpoint } from "./endpoint.ts";
import { EndpointView } from "./endpoint-view.ts";

/** The state of an endpoint at a pick, for traces. */
export type Candidate = {
  readonly endpoint: string;
  readonly weight: number;
  readonly zone: string;
  /** Requests in flight of all workers. */
  readonly inFlight: number;
  /** Decayed average in microseconds; 0 without a sample. */
  readonly latency: number;
  /** Milliseconds since the last response that updated it; absent without one. */
  readonly latencyAge?: number;
  /** Decayed average share of failed attempts, 0 to 1. */
  readonly errorRate: number;
  /** The reason why it could not be picked: `tried`, `full` or names of HEALTH; empty if it could. */
  readonly out: string;
};

/** The request for which an endpoint is picked. */
export interface PickContext extends ExchangeContext {
  /** Endpoints of earlier attempts, by slot. */
  readonly tried: readonly number[];
  picksProbe: boolean;
}

/** An endpoint and the connector that opens streams to it. */
export type Member<Connector> = { readonly endpoint: Endpoint; readonly connector: Connector };

/** By slot, 1: already tried. Scratch space of one call, so that marking replaces searching a list per endpoint. */
const TRIED = new Uint8Array(MAX_ENDPOINTS);

export class Cluster<Connector = unknown> {
  readonly index: number;
  readonly plan: ClusterPlan;
  readonly strategies: readonly Instance[];
  #members: readonly Member<Connector>[];
  /** The plugin that checks the health of its endpoints, or null. */
  readonly checker: Instance | null;
  readonly #columns: EndpointColumns;
  readonly #eligible: EndpointView;
  readonly #reduced: EndpointView;
  /** Ejected endpoints to which one request each is permitted. */
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

  /** Replaces the endpoints; `release` is called later for each removed one. */
  replace(members: readonly Member<Connector>[]): void {
    this.#members = members;
    for (const { endpoint, connector } of members) this.#connectors.set(endpoint.slot, connector);
    this.#epoch = -1;
  }

  /** The last attempt at the removed endpoint of that slot has ended. */
  release(slot: number): void {
    if (!this.#members.some(({ endpoint }) => endpoint.slot === slot)) this.#connectors.delete(slot);
  }

  /** The connector of one of the cluster's endpoints. */
  connectorOf(endpoint: Endpoint): Connector {
    return this.#connectors.get(endpoint.slot)!;
  }

  /** Index of the strategy of that name; 0 (the default) if the cluster does not have it. */
  strategyNamed(name: string | undefined): number {
    for (const [index, strategy] of this.plan.strategies.entries()) if (strategy.name === name) return index;
    return 0;
  }

  /** Picks the endpoint of the exchange's next attempt; null if none is available. */
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

  /** The state of all endpoints for the exchange, including unavailable ones. */
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

  /** Whether another endpoint than the current one is available, for a further attempt. */
  hasOther(exchange: PickContext): boolean {
    if (this.#epoch !== this.#columns.epoch()) this.#refresh();
    const { list, count } = this.#present(exchange);
    for (let i = 0; i < count; i++) if (list[i] !== exchange.endpoint) return true;
    return false;
  }

  /** Rebuilds the eligible set, only after the epoch word has changed. */
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

  /** Claims an ejected endpoint for a probe; null if other workers have claimed all. */
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

  /** The eligible endpoints without those already tried and those at their limit. */
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

  /** The native pick: the fewest requests in flight per weight, from a random start; used if the strategy picks none. */
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
