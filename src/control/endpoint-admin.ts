/** Requests of the admin interface that change the endpoints of a cluster. */
import type { EndpointCall, EndpointResult } from "../admin/api.ts";
import { endpointAddress } from "../config/schema.ts";
import type { Log } from "../observe/log.ts";
import type { PlacelessEndpoint } from "../plan/endpoint-set.ts";
import type { ClusterPlan, Plan } from "../plan/plan.ts";
import { type EndpointChanges, OPERATOR_STATES, type OperatorState, TooManyChanges } from "./endpoint-changes.ts";

const MAX_WEIGHT = 1000;
const MAX_ZONE = 256;

export type EndpointAdminOptions = {
  readonly plan: () => Plan | null;
  readonly changes: EndpointChanges;
  /** Puts the changes of a cluster into service. */
  readonly update: (cluster: string) => void;
  readonly log: Pick<Log, "info">;
};

class CallError extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

export class EndpointAdmin {
  readonly #options: EndpointAdminOptions;

  constructor(options: EndpointAdminOptions) {
    this.#options = options;
  }

  call(call: EndpointCall): EndpointResult {
    try {
      const cluster = this.#find(call.cluster);
      const isNew = call.method === "POST";
      const address = isNew ? this.#add(cluster, call.body) : this.#change(cluster, call);
      this.#options.update(cluster.name);
      if (isNew) this.#verify(cluster, address);
      const change = call.body ?? "removed";
      this.#options.log.info({ cluster: cluster.name, endpoint: address, change }, "endpoint changed");
      return { status: isNew ? 201 : 200, address };
    } catch (error) {
      if (error instanceof CallError) return { status: error.status, problem: error.message };
      if (error instanceof TooManyChanges) return { status: 409, problem: error.message };
      throw error;
    }
  }

  #find(name: string): ClusterPlan {
    const found = this.#options.plan()?.clusters.find((cluster) => cluster.name === name);
    if (found === undefined) throw new CallError(404, `there is no cluster ${name}`);
    return found;
  }

  #add(cluster: ClusterPlan, body: unknown): string {
    const { address, weight, zone } = readMap(body, ["address", "weight", "zone"]);
    const endpoint: PlacelessEndpoint = {
      ...readAddress(address),
      weight: readWeight(weight) ?? 1,
      zone: readZone(zone),
    };
    if (cluster.set.endpoints.some((one) => one.address === endpoint.address))
      throw new CallError(409, `the cluster ${cluster.name} has the endpoint ${endpoint.address} already`);
    this.#options.changes.add(cluster.name, endpoint);
    return endpoint.address;
  }

  /** Undoes an addition for which shared memory has no room: the set of endpoints was rejected, and logged. */
  #verify({ name, set }: ClusterPlan, address: string): void {
    if (set.endpoints.some((endpoint) => endpoint.address === address)) return;
    this.#options.changes.remove(name, address);
    throw new CallError(409, `the cluster ${name} cannot have another endpoint, the log has the reason`);
  }

  #change({ name, set }: ClusterPlan, { method, address, body }: EndpointCall): string {
    const addresses = set.endpoints.map((endpoint) => endpoint.address);
    if (!addresses.includes(address))
      throw new CallError(
        404,
        `the cluster ${name} has no endpoint ${address}, expected one of ${addresses.join(", ") || "(none)"}`,
      );
    const { changes } = this.#options;
    if (method === "DELETE") changes.remove(name, address);
    else {
      const given = readMap(body, ["weight", "state"]);
      const change = { weight: readWeight(given.weight), state: readState(given.state) };
      if (change.weight === undefined && change.state === undefined)
        throw new CallError(400, "nothing to change, expected weight or state");
      changes.change(name, address, change);
    }
    return address;
  }
}

function readMap(body: unknown, keys: readonly string[]): Readonly<Record<string, unknown>> {
  if (typeof body !== "object" || body === null || Array.isArray(body))
    throw new CallError(400, `the body is not a map, expected the keys ${keys.join(", ")}`);
  for (const key of Object.keys(body))
    if (!keys.includes(key)) throw new CallError(400, `unknown key ${key}, expected one of ${keys.join(", ")}`);
  return body as Record<string, unknown>;
}

/** Names are only in the configuration. */
function readAddress(value: unknown): Pick<PlacelessEndpoint, "address" | "host" | "port" | "path"> {
  let parsed: ReturnType<typeof endpointAddress.parse>;
  try {
    parsed = typeof value === "string" ? endpointAddress.parse(value) : undefined;
  } catch {
    // Reported below.
  }
  if (parsed === undefined || parsed.path !== "" || !/^[\d.]+$|:/.test(parsed.host) || parsed.port === 0) {
    const expected = "a numeric address with a port, such as 127.0.0.1:9001 or [::1]:9001";
    throw new CallError(400, `invalid address ${JSON.stringify(value)}: expected ${expected}`);
  }
  const { host, port } = parsed;
  return { address: host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`, host, port, path: "" };
}

function readWeight(value: unknown): number | undefined {
  if (value === undefined) return undefined;
  if (Number.isInteger(value) && Number(value) >= 1 && Number(value) <= MAX_WEIGHT) return Number(value);
  throw new CallError(400, `invalid weight ${JSON.stringify(value)}: expected a whole number from 1 to ${MAX_WEIGHT}`);
}

function readZone(value: unknown): string {
  if (value === undefined) return "";
  if (typeof value === "string" && value.length <= MAX_ZONE && !/[\0-\x1f\x7f]/.test(value)) return value;
  throw new CallError(400, `invalid zone: expected a text of at most ${MAX_ZONE} characters`);
}

function readState(value: unknown): OperatorState | undefined {
  if (value === undefined) return undefined;
  const state = OPERATOR_STATES.find((one) => one === value);
  if (state !== undefined) return state;
  throw new CallError(400, `invalid state ${JSON.stringify(value)}: expected one of ${OPERATOR_STATES.join(", ")}`);
}
