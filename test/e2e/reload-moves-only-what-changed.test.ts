/** A reload keeps unchanged listeners, endpoints and connections, and drains removed ones. */
import assert from "node:assert/strict";
import { renameSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { connectTo, startUpstream } from "./peers.ts";
import {
  bounded,
  type Ports,
  type Program,
  simpleConfig,
  startSluice,
  testInEachMode,
  testInUsualMode,
  until,
} from "./program.ts";

const get = (path: string): string => `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`;

const isRefused = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect({ host: "127.0.0.1", port });
    socket.on("error", () => resolve(true)).on("connect", () => socket.destroy() && resolve(false));
  });

async function accept(sluice: Program, config: string): Promise<void> {
  sluice.config(config);
  const { status, text } = await sluice.reload();
  assert.equal(status, 200, text);
}

testInEachMode("a listener is added and removed: its connections drain, and those of others stay", async (t) => {
  const pending: (() => void)[] = [];
  const upstream = await startUpstream(t, ({ url }, response) => {
    if (url === "/held") pending.push(() => response.end("late"));
    else response.end("ok");
  });
  const one = simpleConfig(upstream.port);
  const two = (ports: Ports): string =>
    one(ports).replace("clusters:", `  other: { address: "127.0.0.1:${ports.other}", cluster: app }\nclusters:`);
  const sluice = await startSluice(t, one, { ports: ["other"], workers: 2 });
  const stays = await connectTo(t, sluice.port);
  assert.equal((await stays.send(get("/")).readResponse()).status, 200);
  const staysBusy = await connectTo(t, sluice.port);
  staysBusy.send(get("/held"));

  for (let round = 0; round < 3; round++) {
    await accept(sluice, two(sluice.ports));
    const idle = await connectTo(t, sluice.ports.other!);
    assert.equal((await idle.send(get("/")).readResponse()).status, 200);
    const busy = await connectTo(t, sluice.ports.other!);
    busy.send(get("/held"));
    await until(() => pending.length === 2, "both requests wait at the upstream");

    await accept(sluice, one(sluice.ports));
    await until(() => isRefused(sluice.ports.other!), "the removed listener refuses");
    assert.equal((await idle.rest()).length, 0);
    pending.pop()!();
    const last = await busy.readResponse();
    assert.deepEqual([last.status, last.body.toString(), last.headers.connection], [200, "late", "close"]);
    await busy.waits(() => busy.ended, "the end");
    assert.equal((await stays.send(get("/")).readResponse()).status, 200);
  }
  pending.pop()!();
  const kept = await staysBusy.readResponse();
  assert.deepEqual([kept.body.toString(), kept.headers.connection], ["late", undefined]);
});

testInUsualMode("endpoints are added and removed: idle connections of the others are reused", async (t) => {
  const [first, second] = [await startUpstream(t), await startUpstream(t)];
  const sluice = await startSluice(t, simpleConfig(first.port));
  const client = await connectTo(t, sluice.port);
  for (let round = 0; round < 5; round++) {
    assert.equal((await client.send(get("/")).readResponse()).status, 200);
    await accept(sluice, simpleConfig([first.port, second.port])(sluice.ports));
    for (let turn = 0; turn < 4; turn++) assert.equal((await client.send(get("/")).readResponse()).status, 200);
    await accept(sluice, simpleConfig(first.port)(sluice.ports));
  }
  assert.equal(first.connections, 1);
  assert.ok(second.requests.length > 0);
});

testInUsualMode("files are watched, whether overwritten or replaced", async (t) => {
  const upstream = await startUpstream(t);
  const config = (mark: string) =>
    simpleConfig(upstream.port, { listener: `chain: [{ headers: { response: { set: { x-mark: ${mark} } } } }]` });
  const sluice = await startSluice(t, config("a"));
  const mark = async (): Promise<string | null> => (await fetch(sluice.url)).headers.get("x-mark");
  assert.equal(await mark(), "a");
  sluice.config(config("b")(sluice.ports));
  await until(async () => (await mark()) === "b", "the file that was written over is taken");
  for (const next of ["c", "d"]) {
    const text = `admin: 127.0.0.1:${sluice.ports.admin}\nworkers: 1\n${config(next)(sluice.ports)}`;
    sluice.write("next.yaml", text);
    renameSync(join(sluice.directory, "next.yaml"), join(sluice.directory, "sluice.yaml"));
    await until(async () => (await mark()) === next, "the file that was put in its place is taken");
  }
  sluice.config("listeners: [");
  await sluice.logged(({ level }) => level === "error", "that it is refused");
  assert.equal(await mark(), "d");
});

testInUsualMode("SIGHUP reloads the configuration, also a hundred times in a row", async (t) => {
  const upstream = await startUpstream(t);
  const sluice = await startSluice(t, simpleConfig(upstream.port));
  for (let i = 0; i < 100; i++) sluice.kill("SIGHUP");
  await until(
    async () => (await sluice.metric("sluice_config_reloads_total", { result: "unchanged" })) > 0,
    "it is read",
  );
  assert.equal((await fetch(sluice.url)).status, 200);
});

testInEachMode("Unix sockets on both sides", async (t) => {
  const { createServer, request } = await import("node:http");
  const upstream = createServer((request, response) => response.end(`${request.headers.host} ${request.url}`));
  const sluice = await startSluice(
    t,
    "listeners: { web: { address: 127.0.0.1:0, cluster: app } }\nclusters: { app: [127.0.0.1:1] }\n",
  );
  const socket = (name: string): string => join(sluice.directory, name);
  await new Promise<void>((resolve) => upstream.listen(socket("up.sock"), resolve));
  t.after(() => upstream.close());
  await accept(
    sluice,
    `listeners: { web: { address: "unix:${socket("web.sock")}", cluster: app } }\nclusters: { app: ["unix:${socket("up.sock")}"] }\n`,
  );
  const response = new Promise<string>((resolve, reject) => {
    const sent = request(
      { socketPath: socket("web.sock"), path: "/x", headers: { host: "a" }, agent: false },
      async (response) => resolve(Buffer.concat(await response.toArray()).toString()),
    );
    sent.on("error", reject).end();
  });
  assert.equal(await bounded(response, "a response"), "a /x");
});
