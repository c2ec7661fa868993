/** Endpoints whose health a test controls, and the program's view of them. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type Server } from "node:http";
import { setTimeout } from "node:timers/promises";
import { findFreePort } from "./free-port.ts";
import { atEnd, type LiveTest, type Program } from "./program.ts";

/** An endpoint whose response to health checks a test sets; other requests always succeed. */
export type HealthEndpoint = {
  readonly name: string;
  readonly port: number;
  /** The status of /healthz; 0: no response, the connection stays open. */
  status: number;
  body: string;
  /** Accepted connections. */
  connections: number;
  /** Whether it listens at all. */
  listen(): Promise<void>;
  die(): Promise<void>;
};

export async function startHealthEndpoint(t: LiveTest, name: string): Promise<HealthEndpoint> {
  const port = await findFreePort();
  let server: Server | null = null;
  const endpoint: HealthEndpoint = {
    name,
    port,
    status: 200,
    body: "",
    connections: 0,
    async listen() {
      server = createServer((request, response) => {
        if (request.url !== "/healthz") response.end(name);
        else if (endpoint.status > 0) response.writeHead(endpoint.status).end(endpoint.body);
      });
      server.on("connection", () => endpoint.connections++);
      await once(server.listen(port, "127.0.0.1"), "listening");
    },
    async die() {
      if (server === null) return;
      const closed = once(server, "close");
      server.close();
      server.closeAllConnections();
      server = null;
      await closed;
    },
  };
  await endpoint.listen();
  atEnd(t, () => endpoint.die());
  return endpoint;
}

export type Shown = {
  address: string;
  healthy: boolean;
  health: { state: string; since: string; problem: string; history: { ok: boolean | null }[] } | null;
};

export async function shown(sluice: Program, { port }: HealthEndpoint): Promise<Shown> {
  const [cluster] = JSON.parse((await sluice.ask("/api/v1/clusters")).text) as { endpoints: Shown[] }[];
  return cluster!.endpoints.find(({ address }) => address === `127.0.0.1:${port}`)!;
}

/** The names of the endpoints that serve the next twenty requests; none may fail. */
export async function whoServes(sluice: Program): Promise<string> {
  const ask = async (): Promise<string> => {
    const response = await fetch(sluice.url);
    assert.equal(response.status, 200);
    return response.text();
  };
  // At the same time: one after the other they could alternate with those of `askSteadily`, and see one endpoint only.
  const names = new Set(await Promise.all(Array.from({ length: 20 }, ask)));
  return [...names].sort().join(" ");
}

/** Sends requests one after the other until the test ends, and records every status other than 200. */
export function askSteadily(
  t: LiveTest,
  sluice: Program,
): { readonly asked: number; readonly failed: readonly string[] } {
  const state = { asked: 0, failed: [] as string[], stopped: false };
  const run = (async () => {
    for (; !state.stopped; state.asked++) {
      const response = await fetch(sluice.url).catch((error: Error) => ({
        status: error.message,
        text: async () => "",
      }));
      await response.text();
      if (response.status !== 200) state.failed.push(String(response.status));
      await setTimeout(2);
    }
  })();
  atEnd(t, () => {
    state.stopped = true;
    return run;
  });
  return state;
}
