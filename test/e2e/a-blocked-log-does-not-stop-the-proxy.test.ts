/** A full disk, a pipe that is never read, a pipe whose reader has gone: only log lines are lost. */
import assert from "node:assert/strict";
import { closeSync, openSync } from "node:fs";
import { connectTo, startUpstream } from "./peers.ts";
import { type LiveTest, type Options, simpleConfig, startSluice, testInUsualMode, until } from "./program.ts";

const REQUESTS = 2000;
/** Lines of 4 KiB: more than all workers may buffer. */
const PATH = `/${"x".repeat(4000)}`;

async function serveWithout(t: LiveTest, stdout: NonNullable<Options["stdout"]>): Promise<void> {
  const upstream = await startUpstream(t);
  // If each worker's log blocked a thread of libuv, none would be left for files.
  const options = { workers: 5, stdout };
  const sluice = await startSluice(t, simpleConfig(upstream.port, { rest: "log: { access: true }" }), options);
  for (let round = 0; round < 5 && (await sluice.metric("sluice_log_dropped_total")) === 0; round++) {
    const client = await connectTo(t, sluice.port);
    for (let i = 0; i < REQUESTS; i += 100) {
      client.send(`GET ${PATH} HTTP/1.1\r\nHost: a\r\n\r\n`.repeat(100));
      for (let j = 0; j < 100; j++) await client.readResponse();
    }
    client.reset();
  }
  await until(async () => (await sluice.metric("sluice_log_dropped_total")) > 0, "dropped lines are counted");
  assert.deepEqual((await sluice.reload()).status, 200);
  const client = await connectTo(t, sluice.port);
  client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  await client.readResponse();
  await sluice.stop();
}

testInUsualMode("a-blocked-log-does-not-stop-the-proxy: standard output is full", async (t) => {
  const full = openSync("/dev/full", "w");
  await serveWithout(t, full);
  closeSync(full);
});

testInUsualMode("a-blocked-log-does-not-stop-the-proxy: standard output is never read", (t) =>
  serveWithout(t, "unread"),
);

testInUsualMode("a-blocked-log-does-not-stop-the-proxy: the reader of standard output has gone", (t) =>
  serveWithout(t, "closed"),
);
