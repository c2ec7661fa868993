/**
 * Passive health: ejects endpoints that fail their requests. Workers count failures in the shared columns and notify the
 * main thread; only it ejects, so that `maxEjected` holds, and marks the endpoint in the columns. An ejection outlives
 * versions, by the endpoint's row.
 *
 * States: in service → ejected for `ejectFor` × 2^n → probing with one request → in service, or ejected again.
 */

import type { EjectionStatus } from "../admin/api.ts";
import type { EndpointColumns } from "../cluster/columns.ts";
import type { Log } from "../observe/log.ts";
import type { ClusterPlan, EndpointPlan, PassivePlan, Plan } from "../plan/plan.ts";
import type { HealthEvent } from "../proxy/context.ts";

export type PassiveHealthOptions = {
  readonly columns: EndpointColumns;
  readonly log: Pick<Log, "info" | "warn">;
};

export type EjectionCount = {
  readonly cluster: string;
  readonly endpoint: string;
  readonly count: number;
  readonly ejected: boolean;
};

type Member = { readonly endpoint: EndpointPlan; readonly cluster: ClusterPlan; readonly passive: PassivePlan };

type EjectionRecord = {
  ejected: boolean;
  cause: string;
  since: number;
  until: number;
  /** End of the last ejection. */
  backAt: number;
  /** Consecutive ejections. */
  count: number;
  total: number;
  limitLoggedAt: number;
  timer: NodeJS.Timeout | null;
};

/** ms after the timeouts of a probe request when another one is sent, because its worker may have ended. */
const PROBE_MARGIN = 1000;

export class PassiveHealth {
  readonly #options: PassiveHealthOptions;
  /** By row, like `#records`. */
  #members = new Map<number, Member>();
  readonly #records = new Map<number, EjectionRecord>();

  constructor(options: PassiveHealthOptions) {
    this.#options = options;
  }

  /** Follows the plan in service: ejections of endpoints that it does not have, or without passive health, end. */
  take(plan: Plan): void {
    this.#members = new Map();
    for (const cluster of plan.clusters) {
      const { passive } = cluster;
      if (passive === null) continue;
      for (const endpoint of cluster.set.endpoints) this.#members.set(endpoint.slot, { endpoint, cluster, passive });
    }
    for (const [slot, record] of this.#records) {
      if (this.#members.has(slot)) continue;
      this.#return(slot, record);
      this.#records.delete(slot);
    }
  }

  receive({ slot, event, cause }: HealthEvent): void {
    const member = this.#members.get(slot);
    if (member === undefined) return;
    const record = this.#records.get(slot);
    if (event === "failing") this.#failing(member, cause);
    else if (record?.ejected !== true) return;
    else if (event === "recovered") this.#recovered(member, record);
    else this.#eject(member, record, cause);
  }

  /** Ends the ejection of an endpoint that an active check found healthy again. */
  clear(slot: number): void {
    this.#options.columns.failures[slot] = 0;
    const [member, record] = [this.#members.get(slot), this.#records.get(slot)];
    if (member !== undefined && record?.ejected === true) this.#recovered(member, record);
  }

  /** The ejection of an endpoint, or null. */
  describe(slot: number): EjectionStatus | null {
    const record = this.#records.get(slot);
    if (record === undefined || !record.ejected) return null;
    const { cause, since, until, count } = record;
    return { cause, since: new Date(since).toISOString(), until: new Date(until).toISOString(), count };
  }

  *counts(): Iterable<EjectionCount> {
    for (const [slot, { cluster, endpoint }] of this.#members) {
      const { total = 0, ejected = false } = this.#records.get(slot) ?? {};
      yield { cluster: cluster.name, endpoint: endpoint.address, count: total, ejected };
    }
  }

  close(): void {
    for (const { timer } of this.#records.values()) if (timer !== null) clearTimeout(timer);
    this.#records.clear();
    this.#members.clear();
  }

  #failing(member: Member, cause: string): void {
    const { endpoint, cluster, passive } = member;
    const { slot } = endpoint;
    const record = this.#records.getOrInsertComputed(slot, newRecord);
    // A response may have reset the count after the notification was sent.
    if (record.ejected || this.#options.columns.failures[slot] === 0) return;
    const maximum = maxEjected(cluster.set.endpoints.length, passive.maxEjected);
    const ejected = cluster.set.endpoints.filter((other) => this.#records.get(other.slot)?.ejected).length;
    if (ejected < maximum) return this.#eject(member, record, cause);
    record.cause = cause;
    const now = Date.now();
    if (now - record.limitLoggedAt < passive.ejectFor) return;
    record.limitLoggedAt = now;
    this.#options.log.warn(
      { event: "endpoint_not_ejected", ...fieldsOf(member), cause, ejected, max_ejected: maximum },
      "failing endpoint not ejected: health.passive.maxEjected is reached",
    );
  }

  #eject(member: Member, record: EjectionRecord, cause: string): void {
    const { passive, endpoint } = member;
    const now = Date.now();
    const last = record.until - record.since;
    // The duration starts over if the endpoint was in service for longer than it was ejected.
    if (!record.ejected && now - record.backAt > last) record.count = 0;
    record.count++;
    record.total++;
    const time = Math.min(passive.maxEjectFor, passive.ejectFor * 2 ** Math.min(30, record.count - 1));
    Object.assign(record, { ejected: true, cause, since: now, until: now + time });
    this.#options.columns.eject(endpoint.slot);
    this.#options.log.warn(
      { event: "endpoint_ejected", ...fieldsOf(member), cause, eject_ms: time, count: record.count },
      "endpoint ejected: it failed the requests sent to it",
    );
    this.#schedule(member, record, time);
  }

  /** Allows one probe request after `time`, and another if its result is not reported. */
  #schedule(member: Member, record: EjectionRecord, time: number): void {
    const { columns } = this.#options;
    const { slot } = member.endpoint;
    if (record.timer !== null) clearTimeout(record.timer);
    record.timer = setTimeout(() => {
      columns.offerProbe(slot);
      const { response, connect } = member.cluster.timeouts;
      this.#schedule(member, record, Math.max(time, response + connect + PROBE_MARGIN));
    }, time);
  }

  #recovered(member: Member, record: EjectionRecord): void {
    this.#return(member.endpoint.slot, record);
    const fields = { event: "endpoint_recovered", ...fieldsOf(member) };
    this.#options.log.info(fields, "endpoint back in service after its ejection");
    this.#ejectNext(member.cluster);
  }

  #return(slot: number, record: EjectionRecord): void {
    if (record.timer !== null) clearTimeout(record.timer);
    record.timer = null;
    if (!record.ejected) return;
    record.ejected = false;
    record.backAt = Date.now();
    this.#options.columns.endEjection(slot);
  }

  /** Ejects an endpoint that kept failing while `maxEjected` was reached; its failures are not reported again. */
  #ejectNext(cluster: ClusterPlan): void {
    for (const { slot } of cluster.set.endpoints) {
      const member = this.#members.get(slot);
      if (member === undefined || this.#options.columns.failures[slot]! < member.passive.consecutiveFailures) continue;
      // The cause was stored with the earlier notification.
      this.#failing(member, this.#records.get(slot)?.cause || "failures in a row");
    }
  }
}

/** Maximum number of ejected endpoints: at least one of several, unless the share is 0. */
function maxEjected(endpoints: number, share: number): number {
  return endpoints < 2 || share === 0 ? 0 : Math.max(1, Math.floor(endpoints * share));
}

function newRecord(): EjectionRecord {
  return {
    ejected: false,
    cause: "",
    since: 0,
    until: 0,
    backAt: 0,
    count: 0,
    total: 0,
    limitLoggedAt: Number.NEGATIVE_INFINITY,
    timer: null,
  };
}

function fieldsOf({ cluster, endpoint }: Member): { cluster: string; endpoint: string } {
  return { cluster: cluster.name, endpoint: endpoint.address };
}
