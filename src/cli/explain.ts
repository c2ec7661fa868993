/** `sluice explain [METHOD] URL`: traces a request through plugins, routes and clusters in a dry run; nothing is sent. */
import { readFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { formatProblem, loadConfig } from "../config/load.ts";
import { ExplainError, readExplainRequest, runDry } from "../control/explain.ts";
import type { TraceRecord } from "../trace/record.ts";
import type { ExplainRequest } from "../worker/messages.ts";
import { ADMIN_OPTIONS, callAdmin, findAdmin, NoProxy } from "./admin-client.ts";
import { formatTrace } from "./explain-table.ts";
import { UsageError } from "./usage.ts";

const STORE_SIZE = 1024 * 1024;

export async function run(args: string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      config: { type: "string", short: "c" },
      admin: ADMIN_OPTIONS.admin,
      header: { type: "string", short: "H", multiple: true, default: [] },
      data: { type: "string", short: "d", default: "" },
      listener: { type: "string" },
      client: { type: "string" },
      status: { type: "string" },
      "allow-fetch": { type: "boolean", default: false },
      "fetch-status": { type: "string" },
      trace: { type: "string" },
      json: { type: "boolean", default: false },
    },
  });
  const where = { config: values.config, admin: values.admin };
  let trace: TraceRecord;
  if (values.trace !== undefined) {
    if (positionals.length > 0) throw new UsageError("explain takes a URL, or --trace ID");
    trace = await readTrace(values.trace, where);
  } else {
    const url = positionals.at(-1);
    if (url === undefined || positionals.length > 2) throw new UsageError("explain takes a URL, after a METHOD or not");
    const method = positionals.length === 2 ? positionals[0] : "GET";
    const { listener, client } = values;
    const request = readRequest({
      method,
      url,
      headers: values.header.map(readHeader),
      body: values.data.startsWith("@") ? await readFile(values.data.slice(1), "utf8") : values.data,
      listener,
      client,
      status: readStatus(values.status),
      allowFetch: values["allow-fetch"],
      fetchStatus: readStatus(values["fetch-status"]),
    });
    trace = await explain(request, where);
  }
  process.stdout.write(values.json ? `${JSON.stringify(trace, null, 2)}\n` : formatTrace(trace));
  return 0;
}

type Where = { readonly config: string | undefined; readonly admin: string | undefined };

/** Uses the running proxy; the configuration file if `-c` names one or no proxy runs. */
async function explain(request: ExplainRequest, { config, admin }: Where): Promise<TraceRecord> {
  if (config !== undefined && admin === undefined) return explainFile(request, config);
  const file = config ?? "sluice.yaml";
  try {
    const at = await findAdmin(admin === undefined ? ["-c", file] : ["--admin", admin]);
    const { status, body } = await callAdmin(at, "POST", "/api/v1/explain", request);
    if (status === 200) return body as unknown as TraceRecord;
    throw new Error(typeof body.error === "string" ? body.error : `the admin interface responds ${status}`);
  } catch (error) {
    if (!(error instanceof NoProxy) || admin !== undefined) throw error;
    process.stderr.write(`sluice: ${error.message}: explained from ${file}\n`);
    return explainFile(request, file);
  }
}

async function explainFile(request: ExplainRequest, file: string): Promise<TraceRecord> {
  const { readConfigFile } = await import("../control/config-file.ts");
  const { planOf } = await import("./plan-of-file.ts");
  const { KeyValueStore } = await import("../state/store.ts");
  const { config, problems } = loadConfig(await readConfigFile(file), { file, env: process.env });
  if (config === null) throw new Error(problems.map(formatProblem).join("\n"));
  const { built, problems: found } = await planOf(config);
  if (built === null) throw new Error(found.map(formatProblem).join("\n"));
  return runDry({ plan: built.plan, rows: [], keyValue: KeyValueStore.allocate(STORE_SIZE), worker: 0, request });
}

async function readTrace(id: string, { config = "sluice.yaml", admin }: Where): Promise<TraceRecord> {
  const at = await findAdmin(admin === undefined ? ["-c", config] : ["--admin", admin]);
  const { status, body } = await callAdmin(at, "GET", `/api/v1/traces/${encodeURIComponent(id)}`);
  if (status !== 200) throw new Error(`no trace ${id}: only the last ones are stored (GET /api/v1/traces lists them)`);
  return body as unknown as TraceRecord;
}

function readRequest(given: unknown): ExplainRequest {
  try {
    return readExplainRequest(given);
  } catch (error) {
    throw error instanceof ExplainError ? new UsageError(error.message) : error;
  }
}

function readHeader(line: string): [name: string, value: string] {
  const at = line.indexOf(":");
  if (at <= 0) throw new UsageError(`-H is ${JSON.stringify(line)}, expected "name: value"`);
  return [line.slice(0, at), line.slice(at + 1).trim()];
}

function readStatus(text: string | undefined): number | undefined {
  return text === undefined ? undefined : Number(text);
}
