/** Requests over a limit are rejected with its status, and do not reach an upstream. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { type TestContext, test } from "node:test";
import { connect } from "node:tls";
import { Authority } from "../support/certificates.ts";
import { connectTo, exchange, Peer, startUpstream } from "./peers.ts";
import {
  atEnd,
  bounded,
  type Program,
  simpleConfig,
  startSluice,
  testInAllModes,
  testInEachMode,
  testInUsualMode,
  until,
} from "./program.ts";

const authority = new Authority();
authority.issue("server", { names: "DNS:localhost" });
test.after(() => authority.remove());

testInUsualMode("431, 414, 413, and the number of connections", async (t) => {
  const upstream = await startUpstream(t);
  const listener = "limits: { head: 1KiB, target: 64B, headers: 5, body: 10, connections: 3 }";
  const ports = [upstream.port, (await startUpstream(t)).port];
  const config = simpleConfig(ports, { listener, cluster: "pool: { idle: 0 }" });
  const sluice = await startSluice(t, (free) =>
    config(free)
      .replace("routes: [", "routes: [{ match: { path: /http2 }, cluster: http2 }, ")
      .concat(`  http2: { protocol: http2, endpoints: ["127.0.0.1:${ports[0]}", "127.0.0.1:${ports[1]}"] }\n`),
  );
  const refusals: [number, string][] = [
    [431, `GET / HTTP/1.1\r\nHost: a\r\nX: ${"x".repeat(1024)}\r\n\r\n`],
    [431, `GET / HTTP/1.1\r\nHost: a\r\n${"X: y\r\n".repeat(5)}\r\n`],
    [414, `GET /${"x".repeat(64)} HTTP/1.1\r\nHost: a\r\n\r\n`],
    [413, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\nhello world"],
    [413, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nb\r\nhello world\r\n0\r\n\r\n"],
  ];
  for (const [status, request] of refusals) {
    const client = await connectTo(t, sluice.port);
    const response = await client.send(request).readResponse();
    assert.equal(response.status, status, request);
    assert.equal(response.headers.connection, "close");
    assert.match(response.headers["proxy-status"]!, /^sluice; error=http_request_error/);
    await client.waits(() => client.ended, "the end");
    client.socket.destroy();
    await client.closed;
  }
  assert.equal(upstream.requests.length, 0);

  const fits = [
    `GET /${"x".repeat(63)} HTTP/1.1\r\nHost: a\r\n${"X: y\r\n".repeat(4)}\r\n`,
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhelloworld",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\na\r\nhelloworld\r\n0\r\n\r\n",
  ];
  for (const request of fits) assert.equal((await exchange(t, sluice.port, request)).status, 200, request);
  await showsMissingDescriptors(t, sluice);
});

/**
 * Takes all file descriptors from the program by its limit: the runtime closes connections then without an event, and
 * no endpoint can be reached, which is no failure of the endpoints.
 */
async function showsMissingDescriptors(t: TestContext, sluice: Program): Promise<void> {
  const limit = (soft: string) => spawnSync("prlimit", [`--nofile=${soft}:`, "--pid", String(sluice.pid)]).status === 0;
  const before = /^Max open files +(\d+)/m.exec(readFileSync(`/proc/${sluice.pid}/limits`, "utf8"))![1]!;
  const client = await connectTo(t, sluice.port);
  assert.equal((await client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").readResponse()).status, 200);
  if (!limit("10")) return t.diagnostic("there is no prlimit");
  for (const path of ["/", "/http2"])
    for (let i = 0; i < 6; i++)
      assert.equal((await client.send(`GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`).readResponse()).status, 502);
  const line = await sluice.logged(({ event }) => event === "descriptors_exhausted", "the missing descriptors");
  assert.match(String(line.cause), /EMFILE/);
  assert.ok(limit(before));
  assert.ok((await sluice.metric("sluice_descriptors_exhausted_total")) >= 1);
  await sluice.metricIs(0, "sluice_endpoint_ejections_total");
  assert.ok((await sluice.metric("sluice_upstream_failures_total", { reason: "connect_failed" })) >= 12);
  assert.equal((await client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").readResponse()).status, 200);
}

testInEachMode("a connection over the limit is closed at once; after one closes another is accepted", async (t) => {
  const upstream = await startUpstream(t);
  const sluice = await startSluice(t, simpleConfig(upstream.port, { listener: "limits: { connections: 2 }" }), {});
  const get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
  const first = await connectTo(t, sluice.port);
  const second = await connectTo(t, sluice.port);
  assert.equal((await first.send(get).readResponse()).status, 200);
  assert.equal((await second.send(get).readResponse()).status, 200);
  const third = await connectTo(t, sluice.port);
  await bounded(third.rest(), "the end of a connection over the limit");
  assert.equal((await first.send(get).readResponse()).status, 200);
  first.socket.end();
  await first.closed;
  const fourth = await connectTo(t, sluice.port);
  assert.equal((await fourth.send(get).readResponse()).status, 200);
});

testInUsualMode("limits.connectionsPerClient counts each address over all workers", async (t) => {
  const upstream = await startUpstream(t);
  const listener = "limits: { connectionsPerClient: 5 }\n    trustedProxies: [127.0.0.3]";
  const sluice = await startSluice(t, simpleConfig(upstream.port, { listener }), {
    workers: 3,
    preload: new URL("./failing-worker.ts", import.meta.url),
  });
  const clients: Peer[] = [];
  const connectMany = async (localAddress: string): Promise<Peer[]> => {
    const connecting = Array.from({ length: 12 }, () => connectTo(t, sluice.port, { localAddress }));
    const attempts = connecting.map(async (connected) => {
      const client = await connected;
      await client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").readResponse();
      return client;
    });
    const results = await Promise.allSettled(attempts);
    const served = results.flatMap((result) => (result.status === "fulfilled" ? [result.value] : []));
    clients.push(...served);
    return served;
  };
  const first = await connectMany("127.0.0.1");
  const others = [await connectMany("127.0.0.2"), await connectMany("127.0.0.3")];
  assert.deepEqual([first.length, ...others.map(({ length }) => length)], [5, 5, 12]);
  await sluice.metricIs(14, "sluice_connections_refused_total", { limit: "connectionsPerClient" });
  const line = await sluice.logged(({ event }) => event === "connection_refused", "the refusal");
  assert.deepEqual([line.listener, line.limit, line.client], ["web", 5, "127.0.0.1"]);

  for (const client of first.splice(0, 2)) client.socket.destroy();
  await sluice.metricIs(20, "sluice_connections_active");
  first.push(...(await connectMany("127.0.0.1")));
  assert.equal(first.length, 5);

  // Connections of a worker that has ended are not counted, those of the others are.
  sluice.kill("SIGUSR2");
  await sluice.metricIs(1, "sluice_worker_restarts_total");
  const workers = async () => (await sluice.status()).workers as { serving: boolean }[];
  await until(async () => (await workers()).filter(({ serving }) => serving).length === 3, "its successor serves");
  const open = await sluice.metric("sluice_connections_active");
  const isOpen = ({ socket, ended }: Peer) => !socket.destroyed && !ended;
  await until(() => clients.filter(isOpen).length === open, "its clients see it");
  const kept = first.filter(isOpen).length;
  assert.equal(kept + (await connectMany("127.0.0.1")).length, 5);
});

/** A client's connection by TLS; one that is refused has ended. */
async function connectByTls(t: TestContext, port: number): Promise<Peer> {
  const socket = connect({ host: "127.0.0.1", port, servername: "localhost", ca: authority.read("ca.pem") });
  const peer = new Peer(socket);
  atEnd(t, () => socket.destroy());
  await bounded(
    Promise.race([once(socket, "secureConnect"), peer.closed]).catch(() => undefined),
    "a handshake",
  );
  return peer;
}

testInAllModes("limits.connections counts over all workers, also when one of them ends", async (t) => {
  const upstream = await startUpstream(t);
  const limit = 5;
  const tls = `tls: { certificates: [{ cert: ${authority.path("server.pem")}, key: ${authority.path("server.key")} }] }`;
  const settings: Record<string, string> = { web: "", tls, auto: `protocol: auto, ${tls}`, tcp: "protocol: tcp" };
  const sluice = await startSluice(
    t,
    (ports) => `listeners:
${Object.entries(settings)
  .map(([name, more]) => {
    const keys = [`address: "127.0.0.1:${ports[name]}"`, "cluster: app", `limits: { connections: ${limit} }`, more];
    return `  ${name}: { ${keys.filter(Boolean).join(", ")} }`;
  })
  .join("\n")}
clusters: { app: ["127.0.0.1:${upstream.port}"] }
`,
    {
      workers: 3,
      ports: ["tls", "auto", "tcp"],
      preload: new URL("./failing-worker.ts", import.meta.url),
    },
  );
  const served = async (client: Peer): Promise<boolean> =>
    client
      .send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
      .readResponse()
      .then(
        ({ status }) => status === 200,
        () => false,
      );
  /** Opens more connections than the limit at once; returns the number that is served. */
  const flood = async (connect = () => connectTo(t, sluice.port)): Promise<Peer[]> => {
    const clients = await Promise.all(Array.from({ length: 24 }, connect));
    const are = await Promise.all(clients.map(served));
    return clients.filter((_, index) => are[index]);
  };
  let clients = await flood();
  assert.equal(clients.length, limit);
  await sluice.metricIs(limit, "sluice_connections_active");
  await sluice.metricIs(24 - limit, "sluice_connections_refused_total", { listener: "web" });
  const line = await sluice.logged(({ event }) => event === "connection_refused", "the refusal");
  assert.deepEqual([line.level, line.listener, line.limit], ["warn", "web", limit]);

  const others: [listener: string, connect: () => Promise<Peer>][] = [
    ["tls", () => connectByTls(t, sluice.ports.tls!)],
    ["auto", () => connectByTls(t, sluice.ports.auto!)],
    ["tcp", () => connectTo(t, sluice.ports.tcp!)],
  ];
  for (const [listener, connect] of others) {
    const served = await flood(connect);
    assert.equal(served.length, limit, listener);
    await sluice.metricIs(24 - limit, "sluice_connections_refused_total", { listener, limit: "connections" });
    for (const client of served) client.socket.destroy();
  }
  await sluice.metricIs(limit, "sluice_connections_active");

  // Connections of a worker that has ended are not counted, those of the others are.
  sluice.kill("SIGUSR2");
  await sluice.metricIs(1, "sluice_worker_restarts_total");
  const serving = async (): Promise<number> =>
    ((await sluice.status()).workers as { serving: boolean }[]).filter((worker) => worker.serving).length;
  await until(async () => (await serving()) === 3, "its successor serves");
  const kept = await sluice.metric("sluice_connections_active");
  await until(() => clients.filter(({ ended }) => !ended).length === kept, "its clients see it");
  clients = clients.filter(({ ended }) => !ended);
  clients.push(...(await flood()));
  assert.equal(clients.length, limit);

  for (const client of clients) client.socket.destroy();
  await sluice.metricIs(0, "sluice_connections_active");
  assert.equal((await flood()).length, limit);
});

testInUsualMode("limits.connectionRatePerClient and allow apply to addresses, over all workers", async (t) => {
  const upstream = await startUpstream(t);
  // One a minute: none is added during the test.
  const rate = "limits: { connectionRatePerClient: { rate: 1/m, burst: 5 } }";
  const listener = `${rate}\n    allow: [127.0.0.0/29]\n    trustedProxies: [127.0.0.3]`;
  const sluice = await startSluice(t, simpleConfig(upstream.port, { listener }), { workers: 3 });
  const served = async (localAddress: string): Promise<number> => {
    const asking = Array.from({ length: 12 }, async () => {
      const client = await connectTo(t, sluice.port, { localAddress });
      return client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").readResponse();
    });
    return (await Promise.allSettled(asking)).filter(({ status }) => status === "fulfilled").length;
  };
  const addresses = ["127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.1", "127.0.0.9"];
  const counts: number[] = [];
  for (const address of addresses) counts.push(await served(address));
  assert.deepEqual(counts, [5, 5, 12, 0, 0]);
  await sluice.metricIs(26, "sluice_connections_refused_total", { limit: "connectionRatePerClient" });
  await sluice.metricIs(12, "sluice_connections_refused_total", { limit: "allow" });
  const reasons = sluice.lines.filter(({ event }) => event === "connection_refused").map(({ msg }) => msg);
  for (const reason of ["limits.connectionRatePerClient is reached", "its address is refused by allow"])
    assert.ok(reasons.includes(`client connection refused: ${reason}`), reason);
});

testInEachMode("a client that has reset its connection before it is accepted is not served", async (t) => {
  const upstream = await startUpstream(t);
  const sluice = await startSluice(t, simpleConfig(upstream.port, { listener: "deny: [127.0.0.2]" }));
  const get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
  // Its connection to the upstream is idle then, and a further request would reach the upstream at once.
  assert.equal((await exchange(t, sluice.port, get)).status, 200);
  sluice.kill("SIGSTOP");
  try {
    for (const localAddress of [...Array<string>(20).fill("127.0.0.2"), "127.0.0.1"]) {
      const client = await connectTo(t, sluice.port, { localAddress });
      client.send(get.replace("GET", "POST").replace("\r\n\r\n", "\r\nContent-Length: 0\r\n\r\n")).reset();
    }
  } finally {
    sluice.kill("SIGCONT");
  }
  assert.equal((await exchange(t, sluice.port, get)).status, 200);
  await sluice.metricIs(0, "sluice_connections_active");
  assert.deepEqual(
    upstream.requests.map(({ method }) => method),
    ["GET", "GET"],
  );
  assert.equal(await sluice.metric("sluice_requests_total"), 2);
});
