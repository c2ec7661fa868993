/** WebSockets of any client reach their server: the upgrade, messages both ways, and the end. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { request as httpRequest, type IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import { promisify } from "node:util";
import { WebSocket as UndiciWebSocket } from "undici";
import { bounded, type Program, runSluice, simpleConfig, startSluice, testInAllModes, until } from "./program.ts";
import { ask, closed, open, startEcho } from "./websockets.ts";

const LOG = "log: { access: { fields: [default, header:sec-websocket-key, response:sec-websocket-accept] } }";
/** RFC 6455, section 1.3. */
const KEY = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

testInAllModes(
  "websockets-pass-through: every client has its echo, and each connection its line and counts",
  async (t) => {
    const echo = await startEcho(t);
    const sluice = await startSluice(t, simpleConfig(echo.port, { rest: LOG }), { workers: 1 });

    await t.test(
      "the client of undici, and of Node's global: text, binary, a subprotocol, the closing code",
      async () => {
        for (const Client of [UndiciWebSocket, globalThis.WebSocket as unknown as typeof UndiciWebSocket]) {
          const socket = new Client(`ws://127.0.0.1:${sluice.port}/undici`, "chat");
          await bounded(once(socket as never, "open"), "the connection");
          assert.equal(socket.protocol, "chat");
          for (const size of [0, 1, 125, 126, 10_000, 65_535, 65_536, 1_000_000]) {
            const message = once(socket as never, "message");
            socket.send("x".repeat(size));
            const [{ data }] = (await bounded(message, "an echo")) as [MessageEvent];
            assert.equal(data.length, size);
          }
          const end = once(socket as never, "close");
          socket.close(4001, "enough");
          const [{ code, wasClean }] = (await bounded(end, "the end")) as [{ code: number; wasClean: boolean }];
          assert.deepEqual([code, wasClean], [4001, true]);
        }
        await until(() => echo.closes.length === 2, "the server has seen both ends");
        assert.deepEqual(echo.closes, [
          [4001, "enough"],
          [4001, "enough"],
        ]);
      },
    );

    await t.test(
      "the client of ws: bursts of 10,000 bytes, fragments, pings both ways, an end by the server",
      async () => {
        const socket = await open(t, sluice.port, "/ws?x=1", { headers: { "x-asked": "yes" } });
        const asked = echo.requests.at(-1)!;
        assert.deepEqual([asked.url, asked.headers["x-asked"], asked.headers.upgrade], ["/ws?x=1", "yes", "websocket"]);
        assert.equal(asked.headers.connection, "upgrade");
        assert.equal(asked.headers["x-forwarded-for"], "127.0.0.1");
        const burst = Array.from({ length: 100 }, () => randomBytes(10_000));
        const got: Buffer[] = [];
        socket.on("message", (data: Buffer) => got.push(data));
        for (const bytes of burst) socket.send(bytes);
        socket.send("in ", { fin: false });
        socket.send("parts", { fin: true });
        await until(() => got.length === 101, "all messages are back");
        assert.ok(Buffer.concat(got).equals(Buffer.concat([...burst, Buffer.from("in parts")])));

        assert.deepEqual(echo.control, [], "the proxy sends no ping of its own");
        const pong = once(socket, "pong");
        socket.ping("are you there");
        assert.equal(String((await bounded(pong, "a pong"))[0]), "are you there");
        echo.sockets.at(-1)!.ping("and you");
        await until(() => echo.control.length === 2, "a pong for the server's ping");
        assert.deepEqual(echo.control, ["ping are you there", "pong and you"]);

        const end = closed(socket);
        echo.sockets.at(-1)!.close(1011, "broken");
        assert.deepEqual(await end, [1011, "broken"]);
      },
    );

    await t.test("Node's http client, and curl", async () => {
      const headers = {
        connection: "Upgrade",
        upgrade: "WebSocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": KEY,
      };
      const request = httpRequest({ port: sluice.port, host: "127.0.0.1", path: "/node", headers }).end();
      const [response, socket] = (await bounded(once(request, "upgrade"), "the upgrade")) as [IncomingMessage, Socket];
      assert.deepEqual(
        [response.statusCode, response.headers.upgrade, response.headers.connection],
        [101, "websocket", "upgrade"],
      );
      assert.equal(response.headers["sec-websocket-accept"], ACCEPT);
      assert.ok(!("content-length" in response.headers) && !("transfer-encoding" in response.headers));
      socket.write(Buffer.from([0x81, 0x82, 0, 0, 0, 0, 0x68, 0x69]));
      const [frame] = (await bounded(once(socket, "data"), "a frame")) as [Buffer];
      assert.deepEqual([...frame], [0x81, 2, 0x68, 0x69]);
      socket.destroy();

      const curl = ["-sS", "-i", "-N", "--max-time", "1", "-H", "Connection: Upgrade", "-H", "Upgrade: websocket"];
      curl.push("-H", "Sec-WebSocket-Version: 13", "-H", `Sec-WebSocket-Key: ${KEY}`, `${sluice.url}/curl`);
      const { stdout } = (await promisify(execFile)("curl", curl).catch((error) => error)) as { stdout: string };
      assert.match(stdout, /^HTTP\/1\.1 101 /);
      assert.match(stdout, new RegExp(`sec-websocket-accept: ${ACCEPT.replace("+", "\\+")}\\r\\n`, "i"));
    });

    await t.test("each has ended: counted by reason, with a line of its own; an open one is shown", async () => {
      await sluice.metricIs(0, "sluice_tunnels_active");
      await until(() => sluice.accessLines.length === 5, "all lines are written");
      const lines = sluice.accessLines;
      assert.deepEqual(
        lines.map(({ status }) => status),
        lines.map(() => 101),
      );
      const [, , ws] = lines;
      assert.deepEqual([ws!.path, ws!.cluster, ws!.endpoint], ["/ws?x=1", "app", `127.0.0.1:${echo.port}`]);
      assert.ok((ws!.bytes_received as number) > 1_000_000 && (ws!.bytes_sent as number) > 1_000_000);
      assert.equal(lines[3]!["header:sec-websocket-key"], KEY);
      assert.equal(lines[3]!["response:sec-websocket-accept"], ACCEPT);
      const reasons = Map.groupBy(lines, ({ outcome }) => outcome as string);
      for (const [reason, of] of reasons) await sluice.metricIs(of.length, "sluice_tunnels_ended_total", { reason });
      await sluice.metricIs(5, "sluice_requests_total", { status: "101" });
      const bytes = (field: string) => lines.reduce((sum, line) => sum + (line[field] as number), 0);
      await sluice.metricIs(bytes("bytes_received"), "sluice_tunnel_bytes_received_total");
      await sluice.metricIs(bytes("bytes_sent"), "sluice_tunnel_bytes_sent_total");

      const socket = await open(t, sluice.port, "/shown");
      await ask(socket, "hello");
      await sluice.metricIs(1, "sluice_tunnels_active", { listener: "web" });
      assert.equal(await inFlight(sluice), 1);
      const { stdout } = await runSluice("status", "--admin", `127.0.0.1:${sluice.ports.admin}`);
      assert.match(
        stdout,
        /listener web: .* connections, 1 of them tunnels \(the oldest since 20.*; \d+ bytes received and \d+ sent by tunnels in all\)/,
      );
      await sluice.metricIs(0, "sluice_requests_in_flight");
      const end = closed(socket);
      socket.close(1000);
      await end;
      await until(async () => (await inFlight(sluice)) === 0, "it counts no more");
    });
  },
);

async function inFlight(sluice: Program): Promise<number> {
  const clusters = JSON.parse((await sluice.ask("/api/v1/clusters")).text) as { endpoints: { inFlight: number }[] }[];
  return clusters[0]!.endpoints[0]!.inFlight;
}
