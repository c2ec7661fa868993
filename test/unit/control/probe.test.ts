import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer as createHttpServer, type RequestListener } from "node:http";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import type { CheckResult } from "../../../src/cluster/health.ts";
import { type NativeProbe, probe } from "../../../src/control/probe.ts";
import type { EndpointPlan } from "../../../src/plan/plan.ts";
import { makeDirectory } from "./parts.ts";

const HTTP = {
  kind: "http",
  protocol: "http1",
  method: "GET",
  path: "/healthz",
  host: "",
  statuses: [{ least: 200, most: 399 }],
} as const satisfies NativeProbe;
const TCP = { kind: "tcp", send: "", expect: "" } as const satisfies NativeProbe;

function endpoint(port: number, path = ""): EndpointPlan {
  const address = path === "" ? `127.0.0.1:${port}` : `unix:${path}`;
  const host = path === "" ? "127.0.0.1" : "";
  return { address, host, port, path, weight: 1, zone: "", slot: 0, cells: 0 };
}

async function listen(t: TestContext, server: Server): Promise<number> {
  const sockets = new Set<Socket>();
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.on("error", () => undefined);
  });
  t.after(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  return (server.address() as AddressInfo).port;
}

const startHttp = (t: TestContext, respond: RequestListener) => listen(t, createHttpServer(respond));
/** A server that sends bytes to each client, or runs a script. */
const startRaw = (t: TestContext, meet: (socket: Socket) => void) => listen(t, createServer(meet));
const startSending = (t: TestContext, text: string) => startRaw(t, (socket) => socket.end(text));

function visit(plan: NativeProbe, target: EndpointPlan, timeout = 5000): Promise<CheckResult> {
  return new Promise((resolve) => probe(plan, { endpoint: target, timeout, tls: null, proxyProtocol: null }, resolve));
}

async function problem(plan: NativeProbe, port: number, timeout?: number): Promise<string> {
  const outcome = await visit(plan, endpoint(port), timeout);
  assert.equal(outcome.result, "unhealthy");
  return outcome.problem;
}

test("a request as configured, on a connection that ends with it, with a result by the status", async (t) => {
  const seen: string[] = [];
  const port = await startHttp(t, ({ method, url, headers: { host, connection } }, response) => {
    seen.push(`${method} ${url} ${host} ${connection}`);
    response.writeHead(Number(url?.slice(1)) || 200).end("fine");
  });
  const at = (status: number) => ({ ...HTTP, path: `/${status}` });
  assert.deepEqual(await visit(HTTP, endpoint(port)), { result: "healthy", problem: "" });
  for (const status of [204, 301, 304]) assert.equal((await visit(at(status), endpoint(port))).result, "healthy");
  assert.equal(await problem(at(404), port), "status 404");
  assert.equal(await problem(at(503), port), "status 503");
  const only = { ...at(418), statuses: [{ least: 418, most: 418 }], method: "HEAD", host: "app.test" } as const;
  assert.equal((await visit(only, endpoint(port))).result, "healthy");
  assert.equal(await problem({ ...only, path: "/200" }, port), "status 200");
  assert.deepEqual([seen[0], seen.at(-1)], [`GET /healthz 127.0.0.1:${port} close`, "HEAD /200 app.test close"]);
});

test("an endpoint at a Unix socket is checked there", async (t) => {
  const path = join(makeDirectory(t), "app.sock");
  const server = createHttpServer(({ headers }, response) => response.end(headers.host));
  t.after(() => server.close());
  await once(server.listen(path), "listening");
  assert.equal((await visit(HTTP, endpoint(0, path))).result, "healthy");
  assert.equal((await visit(TCP, endpoint(0, path))).result, "healthy");
  const gone = await visit(TCP, endpoint(0, `${path}.gone`));
  assert.deepEqual(gone, { result: "unhealthy", problem: "no such socket" });
});

test("an unreachable, aborting or malformed endpoint is unhealthy, with the reason", async (t) => {
  const gone = createServer();
  const port = await listen(t, gone);
  gone.close();
  assert.equal(await problem(HTTP, port), "connection refused");
  assert.equal(await problem(TCP, port), "connection refused");
  assert.equal(await problem(HTTP, await startRaw(t, (socket) => socket.resetAndDestroy())), "connection reset");
  assert.equal(await problem(HTTP, await startSending(t, "")), "connection closed before a response");
  assert.match(await problem(HTTP, await startSending(t, "SSH-2.0-x\r\n\r\n")), /^invalid HTTP response: /);
  assert.match(
    await problem(HTTP, await startSending(t, "HTTP/1.1 200 OK\r\na b: c\r\n\r\n")),
    /^invalid HTTP response: /,
  );
  const short = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nfour";
  assert.equal(await problem(HTTP, await startSending(t, short)), "incomplete response");
  const chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n";
  assert.match(await problem(HTTP, await startSending(t, chunked)), /^invalid response body: /);
  assert.equal(await problem(HTTP, await startSending(t, "HTTP/1.1 101 OK\r\n\r\n")), "status 101");
});

test("1xx responses are skipped, up to a limit", async (t) => {
  const hint = "HTTP/1.1 103 Early Hints\r\n\r\n";
  const fine = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
  assert.equal((await visit(HTTP, endpoint(await startSending(t, hint.repeat(3) + fine)))).result, "healthy");
  assert.equal((await visit(HTTP, endpoint(await startSending(t, hint.repeat(50) + fine)))).result, "healthy");
  assert.equal(
    await problem(HTTP, await startSending(t, hint.repeat(3000) + fine)),
    "interim responses over 65536 bytes",
  );
});

test("a response that arrives byte by byte is read; an endless one is limited in bytes and time", async (t) => {
  const slow = await startRaw(t, async (socket) => {
    for (const byte of "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n") {
      socket.write(byte);
      await setTimeout(1);
    }
  });
  assert.equal((await visit(HTTP, endpoint(slow))).result, "healthy");
  let sent = 0;
  const flood = (head: string) =>
    startRaw(t, (socket) => {
      socket.write(head);
      const more = () => {
        while (!socket.destroyed && socket.write("x".repeat(4096))) sent += 4096;
      };
      socket.on("drain", more);
      more();
    });
  assert.equal((await visit(HTTP, endpoint(await flood("HTTP/1.1 200 OK\r\n\r\n")))).result, "healthy");
  assert.match(await problem(HTTP, await flood("HTTP/1.1 200 OK\r\na: ")), /^invalid HTTP response: a head over/);
  const never = { ...TCP, expect: "PONG" };
  assert.equal(await problem(never, await flood("")), 'no "PONG" in its first 16384 bytes');
  assert.ok(sent < 64 * 1024 * 1024, `${sent} bytes were taken`);
});

test("every check ends within its time", async (t) => {
  const silent = await startRaw(t, () => undefined);
  for (const plan of [HTTP, { ...TCP, expect: "x" }]) {
    const began = performance.now();
    assert.equal(await problem(plan, silent, 60), "no complete response within 60 ms");
    assert.ok(performance.now() - began >= 59);
  }
  const stalled = await startRaw(t, (socket) => socket.write("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nfour"));
  assert.equal(await problem(HTTP, stalled, 60), "no complete response within 60 ms");
});

test("a delay of this process does not make an endpoint unhealthy", async (t) => {
  const quick = await startHttp(t, (_, response) => response.end());
  const outcome = visit(HTTP, endpoint(quick), 100);
  // The server is on this worker as well: by the time that it runs again the check is late by 200 ms.
  const end = performance.now() + 300;
  while (performance.now() < end);
  assert.equal((await outcome).result, "healthy");
});

test("text is sent, and a response with the expected text is enough", async (t) => {
  const redis = await startRaw(t, (socket) =>
    socket.on(
      "data",
      (data) =>
        socket.write(data.toString() === "PING\r\n" ? "+PO" : "-ERR\r\n") && setImmediate(() => socket.write("NG\r\n")),
    ),
  );
  const ping = { kind: "tcp", send: "PING\r\n", expect: "+PONG" } as const;
  assert.equal((await visit(ping, endpoint(redis))).result, "healthy");
  const greeting = { ...TCP, expect: "220 " };
  assert.equal((await visit(greeting, endpoint(await startSending(t, "220 mail ESMTP\r\n")))).result, "healthy");
  assert.equal(await problem(greeting, await startSending(t, "554 no\r\n")), 'connection closed without "220 "');
  const heard: string[] = [];
  const listener = await startRaw(t, (socket) => socket.on("data", (data) => heard.push(data.toString())));
  assert.equal((await visit({ ...TCP, send: "hello" }, endpoint(listener))).result, "healthy");
  assert.equal((await visit(TCP, endpoint(listener))).result, "healthy");
  while (heard.length === 0) await setTimeout(5);
  assert.deepEqual(heard, ["hello"]);
});

test("a cancelled check reports nothing, and closes its connection", async (t) => {
  const closed = Promise.withResolvers<void>();
  const arrived = Promise.withResolvers<void>();
  const silent = await startRaw(t, (socket) => {
    socket.on("close", () => closed.resolve());
    socket.resume();
    arrived.resolve();
  });
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const stop = probe(HTTP, { endpoint: endpoint(silent), timeout: 50, tls: null, proxyProtocol: null }, () =>
    assert.fail("reported"),
  );
  await arrived.promise;
  stop();
  await closed.promise;
  t.mock.timers.tick(100);
});
