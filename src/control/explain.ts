/** Dry runs of requests on the plan in service, each in its own thread, without sending anything. */
import { extname } from "node:path";
import { Worker } from "node:worker_threads";
import type { EndpointColumns } from "../cluster/columns.ts";
import { isTargetText } from "../http/path-text.ts";
import type { Plan } from "../plan/plan.ts";
import type { TraceRecord } from "../trace/record.ts";
import type { DryRunInit, DryRunResult, ExplainRequest } from "../worker/messages.ts";

/** The request is invalid, or its dry run failed. */
export class ExplainError extends Error {}

const ENTRY = new URL(`../worker/dry-run${extname(import.meta.filename)}`, import.meta.url);
const TIMEOUT = 30_000;
const MAX_QUEUED = 8;
const ADDRESS = /^[0-9A-Fa-f:.]{2,45}$/;

/** @throws ExplainError with the invalid key */
export function readExplainRequest(value: unknown): ExplainRequest {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new ExplainError("the request is not an object");
  const given = value as Record<string, unknown>;
  const known = ["method", "url", "headers", "body", "listener", "client", "status", "allowFetch", "fetchStatus"];
  for (const key of Object.keys(given))
    if (!known.includes(key)) throw new ExplainError(`unknown key ${key}, expected one of ${known.join(", ")}`);
  const read = <T>(key: string, otherwise: T, is: (value: unknown) => boolean, expected: string): T => {
    if (given[key] === undefined || given[key] === null) return otherwise;
    if (!is(given[key])) throw new ExplainError(`${key} is ${JSON.stringify(given[key])}, expected ${expected}`);
    return given[key] as T;
  };
  const isText = (text: unknown) => typeof text === "string";
  const isStatus = (status: unknown) => Number.isInteger(status) && Number(status) >= 200 && Number(status) <= 599;
  const isUrl = (url: unknown) =>
    typeof url === "string" && (isTargetText(url) || (/^https?:\/\//.test(url) && URL.canParse(url)));
  const request: ExplainRequest = {
    method: read("method", "GET", isText, "a method"),
    url: read("url", "", isUrl, "a URL or a path"),
    headers: read("headers", [], isFields, "a list of [name, value]"),
    body: read("body", "", isText, "a text"),
    listener: read("listener", "", isText, "the name of a listener"),
    client: read("client", "127.0.0.1", (at) => typeof at === "string" && ADDRESS.test(at), "an address"),
    status: read<number | null>("status", null, isStatus, "a status from 200 to 599"),
    allowFetch: read("allowFetch", false, (flag) => typeof flag === "boolean", "true or false"),
    fetchStatus: read("fetchStatus", 503, isStatus, "a status from 200 to 599"),
  };
  if (request.url === "") throw new ExplainError("url is missing");
  // Characters above U+00FF would be truncated to bytes, possibly to the end of a line.
  if (/[^\t\x20-\x7e\x80-\xff]/.test([request.method, request.url, ...request.headers.flat()].join("")))
    throw new ExplainError("method, url and headers are one line each, of characters up to U+00FF");
  return request;
}

function isFields(value: unknown): boolean {
  return (
    Array.isArray(value) &&
    value.every(
      (field) => Array.isArray(field) && field.length === 2 && field.every((part) => typeof part === "string"),
    )
  );
}

/** Performs a dry run in its own thread. @throws ExplainError */
export async function runDry(init: DryRunInit, ended: () => void = () => undefined): Promise<TraceRecord> {
  const worker = new Worker(ENTRY, { workerData: init, name: "dry-run" });
  const { promise, resolve } = Promise.withResolvers<DryRunResult>();
  const timer = setTimeout(() => resolve({ problem: `the dry run took more than ${TIMEOUT / 1000} s` }), TIMEOUT);
  worker.once("message", (result: DryRunResult) => resolve(result));
  worker.once("error", (error: Error) => resolve({ problem: error.message }));
  worker.once("exit", () => resolve({ problem: "the thread of the dry run ended" }));
  const result = await promise;
  clearTimeout(timer);
  await worker.terminate();
  ended();
  if ("problem" in result) throw new ExplainError(result.problem);
  return result.trace;
}

export type ExplainerOptions = {
  readonly plan: () => Plan | null;
  readonly columns: EndpointColumns;
  readonly keyValue: { readonly buffer: SharedArrayBuffer; forgetWorker(worker: number): number };
  /** A number for locks, used by no worker. */
  readonly worker: number;
};

/** Runs the dry runs of a proxy one at a time. */
export class Explainer {
  readonly #options: ExplainerOptions;
  #tail: Promise<unknown> = Promise.resolve();
  #queued = 0;

  constructor(options: ExplainerOptions) {
    this.#options = options;
  }

  /** Runs a request in the form of the admin interface. */
  async explain(request: unknown): Promise<DryRunResult> {
    try {
      return { trace: await this.#queue(readExplainRequest(request)) };
    } catch (error) {
      if (error instanceof ExplainError) return { problem: error.message };
      throw error;
    }
  }

  async #queue(request: ExplainRequest): Promise<TraceRecord> {
    if (this.#queued >= MAX_QUEUED) throw new ExplainError(`${MAX_QUEUED} dry runs are queued already`);
    this.#queued++;
    const run = this.#tail.then(() => this.#run(request));
    this.#tail = run.catch(() => undefined);
    return run.finally(() => this.#queued--);
  }

  #run(request: ExplainRequest): Promise<TraceRecord> {
    const { plan: current, columns, keyValue, worker } = this.#options;
    const plan = current();
    if (plan === null) throw new ExplainError("no version is in service yet");
    columns.moveTo(performance.now());
    const rows = plan.clusters.flatMap(({ set }) =>
      set.endpoints.map(({ slot }) => ({
        slot,
        inFlight: columns.inFlight(slot),
        latency: columns.latencyOf(slot),
        latencyAge: columns.latencyAgeOf(slot),
        errorRate: columns.errorRateOf(slot),
        health: columns.health[slot]!,
      })),
    );
    // If the thread was terminated inside the store, the shard is repaired and unlocked.
    return runDry({ plan, rows, keyValue: keyValue.buffer, worker, request }, () => void keyValue.forgetWorker(worker));
  }
}
