import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { type TestContext, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { STATUS } from "../../../src/abi/abi.ts";
import { Endpoint } from "../../../src/cluster/endpoint.ts";
import { probeEndpoint } from "../../../src/worker/endpoint-probe.ts";

async function startServer(t: TestContext, meet: (socket: Socket) => void): Promise<Endpoint> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => undefined);
    meet(socket);
  });
  t.after(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  const { port } = server.address() as AddressInfo;
  const address = `127.0.0.1:${port}`;
  return new Endpoint({ address, host: "127.0.0.1", port, path: "", weight: 1, zone: "", slot: 0, cells: 0 });
}

function say(
  endpoint: Endpoint,
  { send = "", until = "", most = 1000, timeout = 5000 } = {},
): Promise<string | number> {
  const request = { endpoint, send: Buffer.from(send), until: Buffer.from(until), most, timeout };
  let failures = 0;
  return new Promise((resolve) => {
    probeEndpoint(
      request,
      (result) => {
        // The connection's end, which follows, is no further failure.
        setImmediate(() => {
          assert.equal(failures, typeof result === "number" ? 1 : 0);
          resolve(typeof result === "number" ? result : result.toString());
        });
      },
      () => failures++,
    );
  });
}

test("a probe reads until the expected bytes, or to the end", async (t) => {
  const redis = await startServer(t, (socket) =>
    socket.on("data", async (data) => {
      if (data.toString() !== "PING\r\n") return socket.end("-ERR\r\n");
      for (const byte of "+PONG\r\n") {
        socket.write(byte);
        await setTimeout(1);
      }
    }),
  );
  assert.equal(await say(redis, { send: "PING\r\n", until: "\r\n" }), "+PONG\r\n");
  assert.equal(await say(redis, { send: "QUIT\r\n", until: "+OK" }), "-ERR\r\n", "it ended without");
  assert.equal(await say(redis, { send: "QUIT\r\n" }), "-ERR\r\n");
  const mail = await startServer(t, (socket) => socket.write("220 mail ESMTP\r\n"));
  assert.match(String(await say(mail, { until: "220 " })), /^220 mail/);
});

test("unreachable, aborted, oversized and silent endpoints are distinguished", async (t) => {
  const reset = await startServer(t, (socket) => socket.resetAndDestroy());
  assert.equal(await say(reset, { until: "x" }), STATUS.unreachable);
  const gone = new Endpoint({ ...reset, port: 1, address: "127.0.0.1:1" });
  assert.equal(await say(gone), STATUS.unreachable);
  const noisy = await startServer(t, (socket) => socket.write("x".repeat(2000)));
  assert.equal(await say(noisy), STATUS.tooLarge);
  assert.equal(await say(noisy, { until: "y" }), STATUS.tooLarge);
  const silent = await startServer(t, () => undefined);
  const began = performance.now();
  assert.equal(await say(silent, { until: "x", timeout: 60 }), STATUS.timedOut);
  assert.ok(performance.now() - began >= 59);
});

test("a cancelled probe reports nothing, and closes its connection", async (t) => {
  const arrived = Promise.withResolvers<Socket>();
  const silent = await startServer(t, (socket) => arrived.resolve(socket.resume()));
  const nothing = Buffer.alloc(0);
  const request = { endpoint: silent, send: nothing, until: nothing, most: 1000, timeout: 50 };
  const stop = probeEndpoint(
    request,
    () => assert.fail("it has a result"),
    () => assert.fail("reported"),
  );
  const socket = await arrived.promise;
  stop();
  if (!socket.closed) await once(socket, "close");
  await setTimeout(80);
});
