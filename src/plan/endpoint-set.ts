/** Lists the endpoints of a cluster. */
import type { ClusterConfig, EndpointConfig } from "../config/schema.ts";
import type { SourceEndpoint } from "./endpoint-source.ts";
import type { EndpointPlan } from "./plan.ts";

/** An endpoint without its slots in shared memory. */
export type PlacelessEndpoint = Omit<EndpointPlan, "slot" | "cells">;

/** The endpoints of all entries in the order of the configuration, each address once. */
export function listEndpoints(
  cluster: ClusterConfig,
  endpointsOf: (entry: EndpointConfig) => readonly SourceEndpoint[],
): PlacelessEndpoint[] {
  const endpoints = new Map<string, PlacelessEndpoint>();
  for (const entry of cluster.endpoints)
    for (const { host, port, path, weight } of endpointsOf(entry)) {
      const address = path === "" && port !== 0 ? formatAddress(host, port) : entry.address.text;
      if (!endpoints.has(address)) endpoints.set(address, { address, host, port, path, weight, zone: entry.zone });
    }
  return [...endpoints.values()];
}

function formatAddress(host: string, port: number): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}
