/** Client of the admin interface of a running proxy. */
import { readFile } from "node:fs/promises";
import type { RequestOptions } from "node:http";
import { parseArgs } from "node:util";
import { formatProblem, loadAdmin } from "../config/load.ts";

// An import of node:http would also load fetch and HTTP/2.
const { request } = process.getBuiltinModule("node:http");

export const ADMIN_OPTIONS = {
  config: { type: "string", short: "c", default: "sluice.yaml" },
  admin: { type: "string" },
} as const;

/** An admin interface: `host:port` or `unix:/path`, and its token. */
export type Admin = { readonly address: string; readonly token: string | null };

/** The admin interface cannot be reached. */
export class NoProxy extends Error {}

const TIMEOUT = 60_000;

/**
 * Finds the admin interface: `--admin host:port`, or `admin` of the configuration. The token is that of the configuration or
 * SLUICE_ADMIN_TOKEN. @throws Error
 */
export async function findAdmin(args: string[]): Promise<Admin> {
  const { values } = parseArgs({ args, options: ADMIN_OPTIONS });
  const token = process.env.SLUICE_ADMIN_TOKEN || null;
  if (values.admin !== undefined) return { address: values.admin, token };
  const file = values.config;
  const text = await readFile(file, "utf8").catch((error: NodeJS.ErrnoException) => {
    throw new Error(`${file} cannot be read (${error.code}): set the file by -c, or the admin address by --admin`);
  });
  const { admin, problems } = loadAdmin(text, { file, env: process.env });
  if (problems.length > 0)
    throw new Error(
      `${formatProblem(problems[0]!)} (or set the admin address by --admin, its token by SLUICE_ADMIN_TOKEN)`,
    );
  if (!admin?.address) throw new Error(`${file}: the admin interface is off (admin: false)`);
  return { address: admin.address.text, token: admin.token ?? token };
}

/** Sends a request; returns the status and JSON body. @throws NoProxy; Error if the token is missing or wrong. */
export async function callAdmin(
  { address, token }: Admin,
  method: "GET" | "POST" | "PATCH",
  path: string,
  content?: object,
): Promise<{ status: number; body: Record<string, unknown> }> {
  const { promise, resolve, reject } = Promise.withResolvers<{ status: number; text: string }>();
  const headers = {
    ...(content !== undefined && { "content-type": "application/json" }),
    ...(token !== null && { authorization: `Bearer ${token}` }),
  };
  const call = request({ ...targetOf(address), path, method, headers, timeout: TIMEOUT }, (response) => {
    const chunks: Buffer[] = [];
    response.on("data", (chunk: Buffer) => chunks.push(chunk));
    response.on("end", () => resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString() }));
    response.on("error", reject);
  });
  call.on("timeout", () => call.destroy(new Error("response timeout")));
  call.on("error", (error: NodeJS.ErrnoException) =>
    reject(new NoProxy(`no proxy at ${address}: ${error.code ?? error.message}`)),
  );
  call.end(content === undefined ? undefined : JSON.stringify(content));
  const { status, text } = await promise;
  if (status === 401)
    throw new Error(
      `the admin interface at ${address} ${token === null ? "requires a token" : "rejected the token"}: set admin.token of its configuration by -c or SLUICE_ADMIN_TOKEN`,
    );
  return { status, body: parseBody(text, address) };
}

function targetOf(address: string): RequestOptions {
  if (address.startsWith("unix:")) return { socketPath: address.slice(5) };
  const { hostname, port } = new URL(`http://${address.startsWith(":") ? `127.0.0.1${address}` : address}`);
  return { host: hostname.replace(/^\[|\]$/g, ""), port: port || 80 };
}

function parseBody(text: string, address: string): Record<string, unknown> {
  try {
    const body: unknown = JSON.parse(text);
    if (typeof body === "object" && body !== null) return body as Record<string, unknown>;
  } catch (error) {
    throw new Error(`no admin interface of Sluice at ${address}`, { cause: error });
  }
  throw new Error(`no admin interface of Sluice at ${address}`);
}
