/** Bytes of one connection never reach another (design: "Who owns a byte"). */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type IncomingMessage, request } from "node:http";
import type { AddressInfo } from "node:net";
import { before } from "node:test";
import { setImmediate, setTimeout } from "node:timers/promises";
import { compileSource } from "../contract/plugin-harness.ts";
import { atEnd, bounded, type LiveTest, simpleConfig, startSluice, testInAllModes, testInEachMode } from "./program.ts";

const CONNECTIONS = 64;
const SHORT = 512 * 1024;
/** More than the kernel buffers for a reader that has paused, so that writes block. */
const LONG = 6 * 1024 * 1024;

type Pace = "fast" | "slow reader" | "slow writer";

testInAllModes("64 connections, two thirds of them slow: each receives its own bytes", async (t) => {
  const sluice = await startSluice(t, simpleConfig(await startEcho(t)));
  await echoAll(sluice.port);
});

/** Some chunks pass unchanged, some are replaced, and some are dropped and appended again. */
const sees = (wait: string): string => `import { Body, Request, Response, sleep } from "sluice/sdk";
function see(body: Body): void {
  const size = body.size;
  if (size % 3 == 0) { ${wait} }
  if (size % 2 == 0) body.replace(body.bytes());
  else if (size % 5 == 0) { const bytes = body.bytes(); body.drop(); body.append(bytes); ${wait} }
}
export function onRequestBody(req: Request, body: Body): void { see(body); }
export function onResponseBody(req: Request, res: Response, body: Body): void { see(body); }
`;
const files: Record<string, Uint8Array> = {};

before(async () => {
  files["sees.wasm"] = await compileSource(sees(""));
  files["waits.wasm"] = await compileSource(sees("sleep(1);"));
});

for (const [chain, modes] of [
  ["sees", ["handle"]],
  ["sees, waits", ["handle", "public"]],
] as const)
  testInEachMode(
    `the same through plugins that see every chunk: ${chain}`,
    async (t) => {
      const upstream = await startEcho(t);
      const config = (ports: Record<string, number>) => `plugins:
  sees: { wasm: ./sees.wasm }
  waits: { wasm: ./waits.wasm, limits: { guests: 32 } }
listeners:
  web: { address: "127.0.0.1:${ports.web}", chain: [${chain}], cluster: app }
clusters:
  app: [127.0.0.1:${upstream}]
`;
      const sluice = await startSluice(t, config, { files });
      await echoAll(sluice.port);
      await sluice.metricIs(0, "sluice_plugin_failures_total");
    },
    modes,
  );

async function startEcho(t: LiveTest): Promise<number> {
  const server = createServer((request, response) => {
    const length = request.headers["content-length"];
    if (length !== undefined) response.setHeader("content-length", length);
    request.pipe(response);
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  atEnd(t, () => server.close().closeAllConnections());
  return (server.address() as AddressInfo).port;
}

async function echoAll(port: number): Promise<void> {
  const paces: Pace[] = ["fast", "slow reader", "slow writer"];
  const echoes = Array.from({ length: CONNECTIONS }, (_, id) =>
    echo(port, { id, pace: paces[id % 3]!, chunked: id % 2 === 0 }),
  );
  await bounded(Promise.all(echoes), "every echo", 60_000);
}

type Echo = { id: number; pace: Pace; chunked: boolean };

/** Sends a body and compares the response with it. */
async function echo(port: number, { id, pace, chunked }: Echo): Promise<void> {
  const body = makePattern(id, pace === "slow reader" ? LONG : SHORT);
  const headers = chunked ? {} : { "content-length": body.length };
  const sent = request({ host: "127.0.0.1", port, method: "POST", path: `/${id}`, headers, agent: false });
  const answered = once(sent, "response");
  const written = write(sent, body, pace);
  const [response] = (await answered) as [IncomingMessage];
  assert.equal(response.statusCode, 200);
  let at = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    if (!body.subarray(at, at + chunk.length).equals(chunk))
      assert.fail(`connection ${id}: ${compare(body, at, chunk)}`);
    at += chunk.length;
    if (pace === "slow reader" && at < LONG / 2) await setTimeout(2);
  }
  assert.equal(at, body.length);
  await written;
}

async function write(sent: ReturnType<typeof request>, body: Buffer, pace: Pace): Promise<void> {
  for (let at = 0, turn = 0; at < body.length; turn++) {
    const size = pace === "slow writer" ? 1 + ((turn * 7919) % 20_000) : 256 * 1024;
    const more = sent.write(body.subarray(at, at + size));
    at += size;
    if (pace === "slow writer") await setImmediate();
    if (!more) await once(sent, "drain");
  }
  sent.end();
}

/** Every eight bytes identify the connection and the position. */
function makePattern(id: number, size: number): Buffer {
  const words = new Uint32Array(size / 4);
  for (let i = 0; i < words.length; i += 2) {
    words[i] = 0xa000_0000 + id;
    words[i + 1] = i / 2;
  }
  return Buffer.from(words.buffer);
}

function compare(body: Buffer, at: number, chunk: Buffer): string {
  let i = 0;
  while (body[at + i] === chunk[i]) i++;
  return `a foreign byte at ${at + i}: ${chunk.subarray(i, i + 16).toString("hex")}`;
}
