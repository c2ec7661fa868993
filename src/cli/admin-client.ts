/** How commands reach a running proxy: its admin interface, found by the configuration or given. */
import { readFile } from "node:fs/promises";
import { type RequestOptions, request } from "node:http";
import { parseArgs } from "node:util";
import { formatProblem, loadConfig } from "../config/load.ts";

export const ADMIN_OPTIONS = {
  config: { type: "string", short: "c", default: "sluice.yaml" },
  admin: { type: "string" },
} as const;

/** Nobody answers where the admin interface is. */
export class NoProxy extends Error {}

const TIMEOUT = 60_000;

/** Where the admin interface is: `--admin host:port` or what the configuration says. @throws Error */
export async function findAdmin(args: string[]): Promise<string> {
  const { values } = parseArgs({ args, options: ADMIN_OPTIONS });
  if (values.admin !== undefined) return values.admin;
  const file = values.config;
  const text = await readFile(file, "utf8").catch((error: NodeJS.ErrnoException) => {
    throw new Error(`${file} cannot be read (${error.code}): name it by -c, or the admin interface by --admin`);
  });
  const { config, problems } = loadConfig(text, { file, env: process.env });
  if (config === null) throw new Error(formatProblem(problems[0]!));
  if (config.admin === null) throw new Error(`${file}: the admin interface is off (admin: false)`);
  return config.admin.text;
}

/** The status and JSON body of an answer. @throws Error naming the address when nobody answers there. */
export async function callAdmin(
  admin: string,
  method: "GET" | "POST",
  path: string,
  content?: object,
): Promise<{ status: number; body: Record<string, unknown> }> {
  const { promise, resolve, reject } = Promise.withResolvers<{ status: number; text: string }>();
  const headers = content === undefined ? {} : { "content-type": "application/json" };
  const call = request({ ...targetOf(admin), path, method, headers, timeout: TIMEOUT }, (response) => {
    const chunks: Buffer[] = [];
    response.on("data", (chunk: Buffer) => chunks.push(chunk));
    response.on("end", () => resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString() }));
    response.on("error", reject);
  });
  call.on("timeout", () => call.destroy(new Error("no answer in time")));
  call.on("error", (error: NodeJS.ErrnoException) =>
    reject(new NoProxy(`no proxy answers at ${admin}: ${error.code ?? error.message}`)),
  );
  call.end(content === undefined ? undefined : JSON.stringify(content));
  const { status, text } = await promise;
  return { status, body: parseBody(text, admin) };
}

function targetOf(admin: string): RequestOptions {
  if (admin.startsWith("unix:")) return { socketPath: admin.slice(5) };
  const { hostname, port } = new URL(`http://${admin.startsWith(":") ? `127.0.0.1${admin}` : admin}`);
  return { host: hostname.replace(/^\[|\]$/g, ""), port: port || 80 };
}

function parseBody(text: string, admin: string): Record<string, unknown> {
  try {
    const body: unknown = JSON.parse(text);
    if (typeof body === "object" && body !== null) return body as Record<string, unknown>;
  } catch (error) {
    throw new Error(`what answers at ${admin} is no admin interface of sluice`, { cause: error });
  }
  throw new Error(`what answers at ${admin} is no admin interface of sluice`);
}
