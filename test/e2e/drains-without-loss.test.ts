/** No connection is closed while its client may be sending: at SIGTERM, and when a listener is removed. */
import assert from "node:assert/strict";
import { connect } from "node:net";
import { startUpstream } from "./peers.ts";
import {
  atEnd,
  bounded,
  type LiveTest,
  type Program,
  simpleConfig,
  startSluice,
  testInAllModes,
  until,
} from "./program.ts";

const request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

type Tally = { responses: number; lost: number; readonly ended: Promise<void> };

/** Clients that send their next request with the response to the last, until one says that it is the last. */
function saturate(t: LiveTest, port: number, count: number): Tally {
  const tally = { responses: 0, lost: 0, ended: Promise.resolve() };
  const run = (): Promise<void> =>
    new Promise((resolve) => {
      const socket = connect(port, "127.0.0.1");
      atEnd(t, () => socket.destroy());
      let text = "";
      let last = false;
      socket.setEncoding("latin1").on("data", (data: string) => {
        text += data;
        for (let at = text.indexOf("\r\n\r\nok"); at >= 0; at = text.indexOf("\r\n\r\nok")) {
          tally.responses++;
          last = /\r\nconnection: close\r\n/i.test(text.slice(0, at + 4));
          text = text.slice(at + 6);
          if (last) socket.end();
          else socket.write(request);
        }
      });
      socket.on("error", () => undefined);
      socket.on("close", () => {
        if (!last) tally.lost++;
        resolve();
      });
      socket.on("connect", () => socket.write(request));
    });
  tally.ended = Promise.all(Array.from({ length: count }, run)).then(() => undefined);
  return tally;
}

const ends: Record<string, (sluice: Program) => unknown> = {
  "the program": async (sluice) => {
    sluice.kill("SIGTERM");
    assert.deepEqual(await bounded(sluice.exited, "the program's end"), { code: 0, signal: null });
  },
  "the listener": async (sluice) => {
    const { port } = sluice;
    sluice.config(sluice.configText.replace(`:${port}`, `:${sluice.ports.other}`));
    assert.equal((await sluice.reload()).status, 200);
  },
};

for (const [what, end] of Object.entries(ends))
  testInAllModes(
    `drains-without-loss: no request of a saturated keep-alive connection is lost when ${what} ends`,
    async (t) => {
      const upstream = await startUpstream(t);
      const sluice = await startSluice(t, simpleConfig(upstream.port), { workers: 2, ports: ["other"] });
      const tally = saturate(t, sluice.port, 32);
      await until(() => tally.responses > 1000, "the load runs");
      await end(sluice);
      await bounded(tally.ended, "the end of all connections");
      assert.equal(tally.lost, 0, `${tally.lost} of 32 connections ended with a request under way`);
    },
  );
