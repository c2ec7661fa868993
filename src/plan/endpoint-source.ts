/**
 * Sources of endpoints, one of each kind in the process. When the endpoints of an entry of `clusters.*.endpoints` change,
 * its source reports it, and the control plane replaces the sets of the clusters with that entry, without a reload.
 */
import type { EndpointConfig } from "../config/schema.ts";

/** An endpoint without its slots in shared memory. */
export type SourceEndpoint = {
  /** Numeric address, or "" for a Unix socket. */
  readonly host: string;
  readonly port: number;
  /** Path of a Unix socket, or "". */
  readonly path: string;
  readonly weight: number;
};

/** Status of an entry. Times are ms since the epoch. */
export type SourceStatus = {
  readonly kind: EndpointSource["kind"];
  /** Time of the last successful resolution; null: none. */
  readonly resolvedAt: number | null;
  /** Time of the next attempt; null: none. */
  readonly nextAt: number | null;
  /** Why the last attempt failed or found no endpoint; null after a successful one. */
  readonly problem: string | null;
};

export interface EndpointSource {
  readonly kind: "static" | "dns" | "srv";
  /** Whether the entry is of this kind. */
  has(entry: EndpointConfig): boolean;
  /** Waits until the entry's endpoints are known, for a bounded time. Never throws. */
  prepare(entry: EndpointConfig): Promise<void>;
  /** The known endpoints of the entry; an empty list is not an error. */
  endpoints(entry: EndpointConfig): readonly SourceEndpoint[];
  /** Reports changes of these entries from now on, and forgets all others. */
  watch(entries: readonly EndpointConfig[]): void;
  describe(entry: EndpointConfig): SourceStatus;
}

/** Endpoints configured as addresses, which never change. */
export const STATIC_SOURCE: EndpointSource = {
  kind: "static",
  has: () => true,
  prepare: async () => undefined,
  endpoints: ({ address: { host, port, path }, weight }) => [{ host, port, path, weight }],
  watch: () => undefined,
  describe: () => ({ kind: "static", resolvedAt: null, nextAt: null, problem: null }),
};
