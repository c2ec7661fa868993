/** `sluice drain CLUSTER ENDPOINT`: takes an endpoint of a running proxy out of service, or back in with `--undo`. */
import { setTimeout } from "node:timers/promises";
import { parseArgs } from "node:util";
import type { ClusterStatus, EndpointStatus, TunnelList } from "../admin/api.ts";
import { ADMIN_OPTIONS, type Admin, callAdmin, findAdmin } from "./admin-client.ts";
import { UsageError } from "./usage.ts";

const POLL = 500;

export async function run(args: string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: { ...ADMIN_OPTIONS, undo: { type: "boolean", default: false }, wait: { type: "boolean", default: false } },
  });
  const [cluster, endpoint] = positionals;
  if (cluster === undefined || endpoint === undefined || positionals.length > 2)
    throw new UsageError("drain takes CLUSTER and ENDPOINT");
  if (values.undo && values.wait) throw new UsageError("drain takes --undo or --wait, not both");
  const admin = await findAdmin(values.admin === undefined ? ["-c", values.config] : ["--admin", values.admin]);
  const path = `/api/v1/clusters/${encodeURIComponent(cluster)}/endpoints/${encodeURIComponent(endpoint)}`;
  const before = values.undo ? (await find(admin, cluster, endpoint))?.state : "draining";
  const change = { state: values.undo ? "active" : "draining" };
  const { state, inFlight } = (await call(admin, "PATCH", path, change)) as unknown as EndpointStatus;
  const isDrained = before === "draining" || before === "disabled";
  const tunnels = isDrained ? await describeEnding(admin, cluster, endpoint) : "";
  process.stdout.write(`${endpoint} of cluster ${cluster}: ${state}, ${inFlight} in flight${tunnels}\n`);
  if (values.wait && inFlight > 0) await waitUntilIdle(admin, cluster, endpoint);
  return 0;
}

/** The open tunnels of an endpoint that is drained, or was until now: all of them end. Empty if there are none. */
async function describeEnding(admin: Admin, cluster: string, endpoint: string): Promise<string> {
  const { status, body } = await callAdmin(admin, "GET", "/api/v1/tunnels");
  const { open, tunnels } = body as unknown as TunnelList;
  if (status !== 200 || open === 0) return "";
  const count = tunnels.filter((one) => one.cluster === cluster && one.endpoint === endpoint).length;
  if (count === 0) return "";
  const atLeast = open > tunnels.length ? "at least " : "";
  return `; open tunnels and connections, which end within \`shutdown.grace\`: ${atLeast}${count}`;
}

/** Waits until no request is in flight at the endpoint, or it is gone. */
async function waitUntilIdle(admin: Admin, cluster: string, endpoint: string): Promise<void> {
  for (;;) {
    await setTimeout(POLL);
    const inFlight = (await find(admin, cluster, endpoint))?.inFlight ?? 0;
    if (inFlight > 0) continue;
    process.stdout.write(`${endpoint} of cluster ${cluster}: no request in flight\n`);
    return;
  }
}

async function find(admin: Admin, cluster: string, endpoint: string): Promise<EndpointStatus | undefined> {
  const clusters = (await call(admin, "GET", "/api/v1/clusters")) as unknown as ClusterStatus[];
  const found = clusters.find(({ name }) => name === cluster);
  return found?.endpoints.find(({ address }) => address === endpoint);
}

/** @throws Error with the response if its status is not 200 */
async function call(admin: Admin, method: "GET" | "PATCH", path: string, content?: object): Promise<object> {
  const { status, body } = await callAdmin(admin, method, path, content);
  if (status !== 200) throw new Error(String(body.error ?? `the admin interface responds ${status}`));
  return body;
}
