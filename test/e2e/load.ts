/** Load on a program during a change: every request must succeed. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { Agent, get, type IncomingMessage } from "node:http";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { setTimeout } from "node:timers/promises";
import { atEnd } from "./program.ts";

/**
 * ms between a response and the client's next request. Requests are in flight at every step of what is tested, but the load
 * does not take all of the processor: that would only make each step longer. `pace.lua` is the same for `wrk`.
 */
export const PAUSE = 4;

/** `wrk`, where it is installed; `stop` fails if a request has failed. */
export function startWrk(t: TestContext, url: string, ...options: string[]): { stop(): Promise<void> } {
  if (spawnSync("wrk", ["-v"]).error !== undefined) return { stop: async () => {} };
  const wrk: ChildProcess = spawn("wrk", ["-t1", "-c8", "-d120", "-s", PACE, ...options, url]);
  atEnd(t, () => wrk.kill("SIGKILL"));
  let output = "";
  wrk.stdout!.setEncoding("utf8").on("data", (text: string) => {
    output += text;
  });
  const ended = new Promise((resolve) => wrk.on("close", resolve));
  return {
    stop: async () => {
      wrk.kill("SIGINT");
      await ended;
      assert.match(output, /[1-9]\d* requests in/);
      assert.doesNotMatch(output, /Socket errors|Non-2xx/, output);
    },
  };
}

const PACE = join(import.meta.dirname, "pace.lua");

export type Load = {
  /** Number of responses so far. */
  readonly responses: number;
  /** Ends it; fails when a request did. */
  stop(): Promise<number>;
};

/** Clients that send the next request `PAUSE` ms after each response; `keepAlive`: on one connection while it stays open. */
export function startClients(t: TestContext, url: string, { count = 8, keepAlive = true } = {}): Load {
  let stopped = false;
  let responses = 0;
  const run = async (): Promise<void> => {
    const agent = new Agent({ keepAlive, maxSockets: 1 });
    atEnd(t, () => agent.destroy());
    while (!stopped) {
      const { statusCode, text } = await ask(url, agent);
      assert.deepEqual([statusCode, text], [200, "ok"]);
      responses++;
      await setTimeout(PAUSE);
    }
    agent.destroy();
  };
  const all = Promise.all(Array.from({ length: count }, run));
  // `stop` reports it.
  all.catch(() => undefined);
  return {
    get responses() {
      return responses;
    },
    stop: async () => {
      stopped = true;
      await all;
      return responses;
    },
  };
}

async function ask(url: string, agent: Agent): Promise<{ statusCode: number | undefined; text: string }> {
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    get(url, { agent }, resolve).on("error", reject);
  });
  return { statusCode: response.statusCode, text: Buffer.concat(await response.toArray()).toString() };
}
