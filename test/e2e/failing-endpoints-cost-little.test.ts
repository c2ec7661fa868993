/**
 * failing-endpoints-cost-little: endpoints that hang, refuse, fail fast or restart are ejected by passive health;
 * idempotent requests are retried elsewhere, and single probe requests detect recovery.
 */
import assert from "node:assert/strict";
import { Agent, createServer, request, type Server } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { findFreePort } from "./free-port.ts";
import { connectTo, startUpstream } from "./peers.ts";
import {
  atEnd,
  type LiveTest,
  type Ports,
  type Program,
  runSluice,
  simpleConfig,
  startSluice,
  testInUsualMode,
  until,
} from "./program.ts";
import { ask as askOnce, breakOff, type Handler, http2Client, startEndpoint } from "./protocol-pairs.ts";

/** Closed and opened again at the same port. */
class Restarting {
  port = 0;
  responses = 0;
  #server!: Server;

  async open(): Promise<void> {
    this.#server = createServer((_, response) => {
      this.responses++;
      response.end("ok");
    });
    await new Promise<void>((resolve) => this.#server.listen(this.port, "127.0.0.1", resolve));
    this.port = (this.#server.address() as { port: number }).port;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

async function ask(sluice: Program, agent: Agent, method = "GET"): Promise<number> {
  return new Promise((resolve, reject) => {
    const asked = request(sluice.url, { agent, method }, (response) => {
      response.resume().on("end", () => resolve(response.statusCode!));
    });
    asked.on("error", reject).end();
  });
}

/** Clients that ask one request after the other until they are stopped; how often each status was seen. */
function askSteadily(t: LiveTest, sluice: Program, { clients = 12, method = "GET" } = {}) {
  const seen = new Map<number, number>();
  let stopped = false;
  const run = async (): Promise<void> => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    atEnd(t, () => agent.destroy());
    while (!stopped) {
      const status = await ask(sluice, agent, method);
      seen.set(status, (seen.get(status) ?? 0) + 1);
      await sleep(2);
    }
    agent.destroy();
  };
  const all = Promise.all(Array.from({ length: clients }, run));
  all.catch(() => undefined);
  return {
    seen,
    async stop(): Promise<Record<number, number>> {
      stopped = true;
      await all;
      return Object.fromEntries(seen);
    },
  };
}

const ejections = (sluice: Program, port: number): Promise<number> =>
  sluice.metric("sluice_endpoint_ejections_total", { endpoint: `127.0.0.1:${port}` });
const isEjected = (sluice: Program, port: number): Promise<boolean> =>
  sluice.metric("sluice_endpoint_healthy", { endpoint: `127.0.0.1:${port}` }).then((healthy) => healthy === 0);

for (const strategy of ["least-connections", "power-of-two", "round-robin"])
  testInUsualMode(`eight endpoints, half of them failing, under load with ${strategy}`, async (t) => {
    const good = await Promise.all([startUpstream(t), startUpstream(t), startUpstream(t)]);
    const hung = await startUpstream(t, () => {});
    const failing = await startUpstream(t, (_, response) => response.writeHead(503).end());
    const refusing = [await findFreePort(), await findFreePort()];
    const restarting = new Restarting();
    await restarting.open();
    atEnd(t, () => restarting.close());
    const ports = [...good, hung, failing, restarting].map(({ port }) => port).concat(refusing);
    const cluster = `strategy: ${strategy}
    timeouts: { response: 1s }
    health: { passive: { ejectFor: 500ms, maxEjectFor: 1s } }`;
    const sluice = await startSluice(t, simpleConfig(ports, { cluster }), { workers: 2 });
    const load = askSteadily(t, sluice);
    for (const port of [hung.port, failing.port, ...refusing])
      await until(() => isEjected(sluice, port), `${port} is ejected`);
    await sluice.metricIs(0, "sluice_circuit_open", { endpoint: `127.0.0.1:${good[0]!.port}` });
    await sluice.metricIs(1, "sluice_circuit_open", { endpoint: `127.0.0.1:${hung.port}` });
    const probes = await ejections(sluice, hung.port);
    const before = hung.requests.length;
    await until(async () => (await ejections(sluice, hung.port)) >= probes + 2, "it was tried twice more");
    const [more, costs] = [(await ejections(sluice, hung.port)) - probes, hung.requests.length - before];
    assert.ok(costs <= more + 1, `${costs} requests went to the hung endpoint for ${more} further ejections`);

    await restarting.close();
    await until(async () => (load.seen.get(200) ?? 0) > 0, "the others serve");
    await restarting.open();
    const served = restarting.responses;
    await until(() => restarting.responses > served, "the restarted one serves again");
    const status = await runSluice("status", "--admin", `127.0.0.1:${sluice.ports.admin}`);
    const seen = await load.stop();
    assert.match(
      status.stdout,
      new RegExp(`127\\.0\\.0\\.1:${hung.port}: ejected since \\S+ until \\S+ \\(response_timeout\\)`),
    );
    const { 200: ok = 0, 503: unavailable = 0, ...failed } = seen;
    assert.deepEqual(failed, {}, "no idempotent request fails");
    assert.ok(ok > 100);
    // Failures in a row that eject it, and requests in progress on both workers meanwhile.
    const most = 5 + 2 * 12 + (await ejections(sluice, failing.port));
    assert.ok(unavailable <= most, `${unavailable} responses of 503, at most ${most}`);
  });

testInUsualMode("a hung endpoint of two costs one response timeout, at a low rate too", async (t) => {
  const [good, hung] = [await startUpstream(t), await startUpstream(t, () => {})];
  const cluster = "timeouts: { response: 300ms }";
  const sluice = await startSluice(t, simpleConfig([good.port, hung.port], { cluster }));
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  atEnd(t, () => agent.destroy());
  while (hung.requests.length === 0) assert.equal(await ask(sluice, agent), 200);
  const line = await sluice.logged(({ msg }) => /endpoint ejected/.test(msg ?? ""), "the ejection");
  assert.deepEqual(
    [line.level, line.cluster, line.endpoint, line.cause],
    ["warn", "app", `127.0.0.1:${hung.port}`, "response_timeout"],
  );
  for (let i = 0; i < 12; i++) assert.equal(await ask(sluice, agent), 200);
  assert.equal(hung.requests.length, 1);
});

testInUsualMode("a slow request is not counted as a hang while the endpoint responds to others", async (t) => {
  const upstreams = await Promise.all(
    [0, 1].map(() => startUpstream(t, ({ url }, response) => void (url !== "/slow" && response.end("ok")))),
  );
  const config = simpleConfig(
    upstreams.map(({ port }) => port),
    { cluster: "timeouts: { response: 1s }" },
  );
  const sluice = await startSluice(t, config);
  const load = askSteadily(t, sluice, { clients: 2 });
  assert.equal((await fetch(`${sluice.url}/slow`)).status, 504);
  assert.deepEqual(Object.keys(await load.stop()), ["200"]);
  assert.equal(
    upstreams.flatMap(({ requests }) => requests).filter(({ url }) => url === "/slow").length,
    2,
    "tried elsewhere",
  );
  await sluice.metricIs(0, "sluice_endpoint_ejections_total");
});

testInUsualMode(
  "a POST is retried after a refused connection, never once sent; without passive health nothing is ejected",
  async (t) => {
    const [good, breaking] = [await startUpstream(t), await startUpstream(t, (_, response) => response.destroy())];
    const refusing = await findFreePort();
    const cluster = "health: { passive: false }";
    const sluice = await startSluice(t, simpleConfig([good.port, refusing, breaking.port], { cluster }));
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    atEnd(t, () => agent.destroy());
    const statuses: number[] = [];
    for (let i = 0; i < 30; i++) statuses.push(await ask(sluice, agent, "POST"));
    assert.deepEqual(
      [good.requests.length, breaking.requests.length],
      [statuses.filter((status) => status === 200).length, statuses.filter((status) => status === 502).length],
    );
    assert.ok(breaking.requests.length > 5, "it is asked again and again");
    assert.equal(good.requests.length + breaking.requests.length, 30);
    for (let i = 0; i < 10; i++) assert.equal(await ask(sluice, agent), 200);
    await sluice.metricIs(0, "sluice_endpoint_ejections_total");
  },
);

testInUsualMode("the same of HTTP/2 endpoints: hung, failing, resetting streams, refusing connections", async (t) => {
  const start = (handle: Handler) => startEndpoint(t, "http2", handle);
  const good = await start((_, response) => response.end("ok"));
  const seen: Record<string, number> = {};
  const bad = {
    hung: await start(() => {}),
    failing: await start((_, response) => response.writeHead(503).end()),
    resetting: await start((incoming, response) => {
      seen[incoming.method!] = (seen[incoming.method!] ?? 0) + 1;
      breakOff(response);
    }),
    refusing: { port: await findFreePort() },
  };
  const names = Object.keys(bad) as (keyof typeof bad)[];
  const sluice = await startSluice(
    t,
    (ports) => `listeners:
  web:
    address: 127.0.0.1:${ports.web}
    routes: [${names.map((name) => `{ match: { path: /${name} }, cluster: ${name} }`).join(", ")}]
clusters:
${names
  .map(
    (name) =>
      `  ${name}: { endpoints: ["127.0.0.1:${good.port}", "127.0.0.1:${bad[name].port}"], protocol: http2, timeouts: { response: 300ms } }\n`,
  )
  .join("")}`,
  );
  const client = await http2Client(t, sluice.port);
  const send = async (path: string, method: string) => (await askOnce(client, { path, method })).status;
  const causes = { hung: "response_timeout", failing: "503", resetting: "upstream_reset", refusing: "connect_refused" };
  // A request that may have been processed is sent again only if it is idempotent.
  const posts: number[] = [];
  for (let i = 0; i < 4; i++) posts.push(await send("/resetting", "POST"));
  const lost = posts.filter((status) => status === 502).length;
  assert.ok(lost > 0 && posts.every((status) => status === 200 || status === 502), `${posts}`);
  assert.equal(seen.POST, lost);
  for (const name of names) {
    const statuses: number[] = [];
    const isOut = () => isEjected(sluice, bad[name].port);
    await until(
      async () => statuses.push(await send(`/${name}`, "GET")) > 100 || (await isOut()),
      `${name} is ejected`,
    );
    assert.ok(await isOut(), `${name}: ${statuses}`);
    const failed = statuses.filter((status) => status !== 200);
    assert.ok(failed.length === 0 || (name === "failing" && failed.length <= 6), `${name}: ${statuses}`);
    const line = await sluice.logged(
      ({ msg, cluster }) => cluster === name && /endpoint ejected/.test(msg ?? ""),
      "the ejection",
    );
    assert.match(String(line.cause), new RegExp(causes[name]), name);
  }
});

testInUsualMode(
  "time that the client or a plugin uses of the route's timeout is not counted against the endpoint",
  async (t) => {
    // Slow, but well within the response timeout.
    const upstreams = await Promise.all(
      [0, 1].map(() => startUpstream(t, (_, response) => void setTimeout(() => response.end("ok"), 400))),
    );
    const config = (ports: Ports) => `
listeners:
  web:
    address: 127.0.0.1:${ports.web}
    routes:
      - { match: { prefix: /delayed }, chain: [{ delay: { milliseconds: 1100 } }], timeout: 1200ms, cluster: app }
      - { timeout: 1200ms, cluster: app }
clusters:
  app: { endpoints: [${upstreams.map(({ port }) => `"127.0.0.1:${port}"`).join(", ")}] }
`;
    const sluice = await startSluice(t, config);
    const ends = ["POST", "PUT"].map(async (method) => {
      const client = await connectTo(t, sluice.port);
      client.send(`${method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc`);
      return (await client.readResponse()).status;
    });
    assert.deepEqual(await Promise.all(ends), [408, 408]);
    await sluice.metricIs(0, "sluice_upstream_failures_total");
    const delayed = await Promise.all([fetch(`${sluice.url}/delayed`), fetch(`${sluice.url}/delayed`)]);
    assert.deepEqual(
      delayed.map(({ status }) => status),
      [504, 504],
    );
    await sluice.metricIs(0, "sluice_endpoint_ejections_total");
  },
);
