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
  const { status, body } = await callAdmin(admin, "PATCH", path, { state: values.undo ? "active" : "draining" });
  if (status !== 200) throw new Error(String(body.error ?? `the admin interface responds ${status}`));
  const { state, inFlight } = body as unknown as EndpointStatus;
  const tunnels = await describeTunnels(admin, cluster, endpoint);
  process.stdout.write(`${endpoint} of cluster ${cluster}: ${state}, ${inFlight} in flight${tunnels}\n`);
  if (values.wait && inFlight > 0) await waitUntilIdle(admin, cluster, endpoint);
  return 0;
}

/** The endpoint's open tunnels, all of which are being drained, also after `--undo`; empty if there are none. */
async function describeTunnels(admin: Admin, cluster: string, endpoint: string): Promise<string> {
  const { status, body } = await callAdmin(admin, "GET", "/api/v1/tunnels");
  const { open, tunnels } = body as unknown as TunnelList;
  if (status !== 200 || open === 0) return "";
  const count = tunnels.filter((one) => one.cluster === cluster && one.endpoint === endpoint).length;
  if (count === 0) return "";
  const atLeast = open > tunnels.length ? "at least " : "";
  return `; ${atLeast}${count} open tunnels and connections end within \`shutdown.grace\``;
}

/** Waits until no request is in flight at the endpoint, or it is gone. */
async function waitUntilIdle(admin: Admin, cluster: string, endpoint: string): Promise<void> {
  for (;;) {
    await setTimeout(POLL);
    const { body } = await callAdmin(admin, "GET", "/api/v1/clusters");
    const found = (body as unknown as ClusterStatus[]).find(({ name }) => name === cluster);
    const inFlight = found?.endpoints.find(({ address }) => address === endpoint)?.inFlight ?? 0;
    if (inFlight > 0) continue;
    process.stdout.write(`${endpoint} of cluster ${cluster}: no request in flight\n`);
    return;
  }
}
