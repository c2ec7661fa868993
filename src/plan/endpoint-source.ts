/**
 * Where the endpoints of clusters come from. Endpoint sets change on their own, without a reload: a source reports that
 * what an entry of `clusters.*.endpoints` stands for has changed, and the control plane makes a new set of each cluster
 * that has the entry. There is one source of each kind for the whole process.
 */
import type { EndpointConfig } from "../config/schema.ts";

/** An endpoint before it has its places in shared memory. */
export type SourceEndpoint = {
  /** Numeric address, or "" for a Unix socket. */
  readonly host: string;
  readonly port: number;
  /** Path of a Unix socket, or "". */
  readonly path: string;
  readonly weight: number;
};

/** What is known of one entry. Times are ms since the epoch. */
export type SourceStatus = {
  readonly kind: EndpointSource["kind"];
  /** Of the last answer that was used; null: there was none, or the source has none. */
  readonly resolvedAt: number | null;
  /** Of the next attempt; null: there is none. */
  readonly nextAt: number | null;
  /** Why the last attempt failed, or why there is no endpoint; null after a good answer. */
  readonly problem: string | null;
};

export interface EndpointSource {
  readonly kind: "static" | "dns" | "srv";
  /** Whether the entry is of this kind. */
  has(entry: EndpointConfig): boolean;
  /** Waits until the entry's endpoints are known, for a bounded time. Never throws. */
  prepare(entry: EndpointConfig): Promise<void>;
  /** The endpoints of the entry as they are known now; none is a state, not an error. */
  endpoints(entry: EndpointConfig): readonly SourceEndpoint[];
  /** These entries are in service from now on: their changes are reported, all others are forgotten. */
  watch(entries: readonly EndpointConfig[]): void;
  describe(entry: EndpointConfig): SourceStatus;
}

/** Endpoints that are given as addresses: they never change. */
export const STATIC_SOURCE: EndpointSource = {
  kind: "static",
  has: () => true,
  prepare: async () => undefined,
  endpoints: ({ address: { host, port, path }, weight }) => [{ host, port, path, weight }],
  watch: () => undefined,
  describe: () => ({ kind: "static", resolvedAt: null, nextAt: null, problem: null }),
};
