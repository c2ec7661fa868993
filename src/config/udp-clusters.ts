/**
 * Reports clusters of UDP listeners with settings that datagrams do not have. They would be sent without TLS, for
 * example.
 */
import type { Place, Problem } from "./place.ts";
import type { Config } from "./schema.ts";
import { listTargets } from "./unused.ts";

type Cluster = Config["clusters"][number];

export function checkUdpClusters({ listeners, clusters }: Pick<Config, "listeners" | "clusters">): Problem[] {
  const routes = listeners.filter(({ protocol }) => protocol === "udp").flatMap((listener) => listener.routes);
  return routes
    .flatMap((route) => listTargets(route.action))
    .flatMap(({ name, at }) => {
      const cluster = clusters.find((one) => one.name === name);
      return cluster === undefined ? [] : checkCluster(cluster, at);
    });
}

function checkCluster({ name, tls, proxyProtocol, endpoints }: Cluster, at: Place): Problem[] {
  const problems: Problem[] = [];
  for (const [key, value] of Object.entries({ tls, proxyProtocol }))
    if (value !== undefined)
      problems.push({
        ...at,
        message: `the cluster "${name}" has \`${key}\`, which datagrams do not have: expected a cluster without it`,
      });
  if (endpoints.some(({ address }) => address.path !== ""))
    problems.push({
      ...at,
      message: `the cluster "${name}" has an endpoint on a Unix socket, which receives no datagrams: expected an address with a port`,
    });
  return problems;
}
