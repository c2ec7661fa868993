/** Certificates and configuration change 200 times under load over https and wss, and nothing is lost. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { after } from "node:test";
import { setTimeout } from "node:timers/promises";
import { connect, type TLSSocket } from "node:tls";
import { WebSocket } from "ws";
import { Authority } from "../support/certificates.ts";
import { PAUSE } from "./load.ts";
import { Peer, startUpstream } from "./peers.ts";
import { atEnd, bounded, type LiveTest, type Program, startSluice, testInEachMode, times, until } from "./program.ts";
import { startEcho } from "./websockets.ts";

const RELOADS = 200;
/** Reloads after which the process has its size. */
const SETTLED = 40;
/** Allowed growth of the process between the SETTLED-th and the last reload: uncollected garbage, but no leak. */
const GROWTH = 96 * 1024 * 1024;
const CLIENTS = { keepAlive: 4, full: 1, resumed: 1, webSockets: 2 };

const authority = new Authority();
const SUBJECTS = ["one", "two"] as const;
for (const name of SUBJECTS) authority.issue(name);
after(() => authority.remove());
const ca = authority.read("ca.pem");
const PAIRS = SUBJECTS.map((name) => [authority.read(`${name}.pem`), authority.read(`${name}.key`)] as const);

testInEachMode("200 reloads with new certificates under load over https and wss lose nothing", async (t) => {
  const echo = await startEcho(t);
  const upstream = await startUpstream(t);
  const config = (version: number, web: number) => `
listeners:
  web:
    address: 127.0.0.1:${web}
    tls: { certificates: [{ cert: site.pem, key: site.key }] }
    chain: [{ headers: { response: { set: { x-version: "${version}" } } } }]
    routes: [{ match: { path: /ws }, cluster: echo }, { cluster: app }]
clusters: { app: ["127.0.0.1:${upstream.port}"], echo: ["127.0.0.1:${echo.port}"] }
`;
  const files = { "site.pem": PAIRS[0]![0], "site.key": PAIRS[0]![1] };
  const sluice = await startSluice(t, ({ web }) => config(0, web), { workers: 2, files });
  const load = await startLoad(t, sluice.port);
  const reloads = times(t, RELOADS);
  let early = 0;
  for (let number = 1; number <= reloads; number++) {
    const [cert, key] = PAIRS[number % 2]!;
    sluice.write("site.pem", cert);
    sluice.write("site.key", key);
    sluice.config(config(number, sluice.port));
    const response = await sluice.reload();
    assert.equal(response.status, 200, response.text);
    await load.still(askOnce(sluice.port, { subject: SUBJECTS[number % 2]!, version: String(number) }));
    if (number === Math.min(SETTLED, reloads)) early = await residentBytes(sluice);
  }
  const late = await residentBytes(sluice);
  await load.stop();
  assert.ok(late < early + GROWTH, `${early} bytes after ${SETTLED} reloads, ${late} after all`);
  assert.equal(echo.requests.length, CLIENTS.webSockets);
  for (const result of ["failed", "timeout", "aborted", "plain_text", "unknown_name"])
    assert.equal(await sluice.metric("sluice_tls_handshakes_total", { result }), 0, result);
  await sluice.metricIs(0, "sluice_tunnels_active");
});

const residentBytes = (sluice: Program): Promise<number> => sluice.metric("process_resident_memory_bytes");

/** A connection after the reload has its certificate and its configuration. */
async function askOnce(port: number, expected: { readonly subject: string; readonly version: string }): Promise<void> {
  const socket = await connectTls(port);
  assert.equal(socket.getPeerCertificate().subject.CN, expected.subject);
  assert.equal((await ask(new Peer(socket))).headers["x-version"], expected.version);
  socket.destroy();
}

async function connectTls(port: number, session?: Buffer): Promise<TLSSocket> {
  const options = { port, host: "127.0.0.1", servername: "localhost", ca };
  const socket = connect(session === undefined ? options : { ...options, session });
  await bounded(once(socket, "secureConnect"), "a handshake");
  return socket;
}

async function ask(peer: Peer) {
  const response = await peer.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").readResponse();
  assert.deepEqual([response.status, response.body.toString()], [200, "ok"]);
  assert.equal(peer.ended, false);
  return response;
}

/** Clients that ask again `PAUSE` ms after a response. `still` fails with the first client that does. */
async function startLoad(t: LiveTest, port: number) {
  const state = { stopped: false, keepAlive: 0, full: 0, resumed: 0, messages: 0 };
  const keepAlive = async () => {
    const peer = new Peer(await connectTls(port));
    for (; !state.stopped; state.keepAlive++) {
      await ask(peer);
      await setTimeout(PAUSE);
    }
    peer.socket.destroy();
  };
  const handshakes = async (resumes: boolean) => {
    let session: Buffer | undefined;
    while (!state.stopped) {
      const socket = await connectTls(port, session);
      assert.equal(socket.isSessionReused(), session !== undefined);
      if (resumes) socket.on("session", (ticket) => (session = ticket));
      await ask(new Peer(socket));
      state[resumes ? "resumed" : "full"]++;
      socket.destroy();
      await setTimeout(PAUSE);
    }
  };
  const echoes = async () => {
    const socket = new WebSocket(`wss://localhost:${port}/ws`, { ca });
    atEnd(t, () => socket.terminate());
    await bounded(once(socket, "open"), "a WebSocket");
    const closed = once(socket, "close").then(([code]) => assert.ok(state.stopped, `the WebSocket closed: ${code}`));
    for (; !state.stopped; state.messages++) {
      const message = `${state.messages} `.repeat(1 + (state.messages % 100));
      const next = once(socket, "message");
      socket.send(message);
      assert.equal(String((await bounded(Promise.race([next, closed]), "an echo"))?.[0]), message);
      await setTimeout(PAUSE);
    }
    socket.close(1000);
  };
  const many = (count: number, run: () => Promise<void>) => Array.from({ length: count }, run);
  const all = Promise.all([
    ...many(CLIENTS.keepAlive, keepAlive),
    ...many(CLIENTS.full, () => handshakes(false)),
    ...many(CLIENTS.resumed, () => handshakes(true)),
    ...many(CLIENTS.webSockets, echoes),
  ]);
  const still = <T>(step: Promise<T>) => Promise.race([step, all.then(() => step)]);
  await still(until(() => Math.min(state.keepAlive, state.full, state.resumed, state.messages) > 2, "the load runs"));
  return {
    still,
    state,
    stop: async () => {
      state.stopped = true;
      await all;
    },
  };
}
