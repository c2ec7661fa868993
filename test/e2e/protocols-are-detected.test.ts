/** `protocol: auto`: TLS, HTTP/1, HTTP/2 and TCP are distinguished by their first bytes, within one time limit. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect as connectHttp2 } from "node:http2";
import { test } from "node:test";
import { connect, type TLSSocket } from "node:tls";
import { WebSocket } from "ws";
import { compileSource } from "../contract/plugin-harness.ts";
import { Authority } from "../support/certificates.ts";
import { request as requestHttp2 } from "./http2.ts";
import { connectTo, exchange, type Peer, startRawUpstream, startUpstream } from "./peers.ts";
import {
  atEnd,
  bounded,
  type LiveTest,
  type Program,
  runSluice,
  startSluice,
  testInEachMode,
  testInUsualMode,
  until,
} from "./program.ts";
import { curl, run } from "./tls.ts";
import { ask as askSocket, closed, startEcho } from "./websockets.ts";

const authority = new Authority();
authority.issue("site");
test.after(() => authority.remove());

/** Picks the only endpoint, and logs the protocol that it sees. */
const STRATEGY = `import { Endpoints, Request, log } from "sluice/sdk";
export function pick(endpoints: Endpoints, req: Request): i32 { log.info("picked for " + req.protocol); return 0; }`;

testInEachMode("protocols-are-detected: each client of one port gets its protocol", async (t) => {
  const app = await startUpstream(t);
  // A line protocol: PING gives +PONG, as Redis does.
  const lines = await startRawUpstream(t, async (peer) => {
    peer.send("ready\r\n");
    for (;;) {
      const line = await peer.take("\r\n");
      peer.send(line === "PING\r\n" ? "+PONG\r\n" : "-ERR\r\n");
    }
  });
  const echo = await startEcho(t);
  const sluice = await startSluice(
    t,
    ({ web, behind }) => `
log: { level: info, access: { fields: [default, protocol, tls_version, sni] } }
plugins: { logs: { wasm: logs.wasm } }
listeners:
  any:
    address: 127.0.0.1:${web}
    protocol: auto
    timeouts: { detect: 500ms }
    tls: { certificates: [{ cert: site.pem, key: site.key }] }
    routes:
      - { match: { protocol: tcp }, cluster: lines, name: lines }
      - cluster: app
  behind:
    address: 127.0.0.1:${behind}
    protocol: auto
    proxyProtocol: { from: [127.0.0.0/8] }
    limits: { bandwidth: { connection: 64MiB/s, client: 64MiB/s } }
    timeouts: { detect: 500ms }
    tls: { certificates: [{ cert: site.pem, key: site.key }] }
    routes:
      - { match: { sni: far.example }, passthrough: true, cluster: any }
      - { match: { protocol: tcp }, cluster: lines, name: lines }
      - { match: { path: /socket }, cluster: echo }
      - cluster: app
clusters:
  app: ["127.0.0.1:${app.port}"]
  echo: ["127.0.0.1:${echo.port}"]
  any: ["127.0.0.1:${web}"]
  lines: { endpoints: ["127.0.0.1:${lines.port}"], strategy: logs }
`,
    {
      files: {
        "site.pem": authority.read("site.pem"),
        "site.key": authority.read("site.key"),
        "logs.wasm": await compileSource(STRATEGY),
      },
      ports: ["behind"],
    },
  );
  const { port, url } = sluice;
  const ca = authority.path("ca.pem");
  for (const version of ["http1.1", "http2-prior-knowledge"])
    assert.equal((await run("curl", ["-sS", "-m", "10", `--${version}`, url])).out, "ok", version);
  for (const version of ["http1.1", "http2"]) {
    const more = [`--${version}`, "-w", " %{http_version}"];
    assert.equal((await curl("/", { port, ca, more })).out, `ok ${version.slice(4)}`);
  }
  const fragments = await connectTo(t, port);
  await fragments.sendChunks("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
  assert.equal((await fragments.readResponse()).status, 200);

  const plain = await connectTo(t, port);
  await plain.sendChunks(["PI", "NG", "\r", "\n"]);
  assert.equal(await plain.take("+PONG\r\n"), "ready\r\n+PONG\r\n");
  const spaced = await connectTo(t, port);
  spaced.send("SET a b\r\n");
  assert.match(await spaced.take("-ERR\r\n"), /ready/);
  const silent = await connectTo(t, port);
  assert.equal(await silent.take("ready\r\n"), "ready\r\n", "the server speaks first");
  for (const protocols of [[], ["line/1"]]) {
    const secure = connect({
      port,
      host: "127.0.0.1",
      servername: "localhost",
      ca: authority.read("ca.pem"),
      ALPNProtocols: protocols,
    });
    atEnd(t, () => secure.destroy());
    await bounded(once(secure, "secureConnect"), "a handshake");
    secure.write("PING\r\n");
    let got = "";
    secure.on("data", (data) => (got += data));
    while (!got.includes("+PONG")) await bounded(once(secure, "data"), "PONG over TLS");
  }

  for (const [protocol, count] of [
    ["http1", 3],
    ["http2", 2],
    ["tcp", 5],
  ] as const)
    await sluice.metricIs(count, "sluice_protocols_detected_total", { listener: "any", protocol });
  await sluice.logged(({ message, msg }) => /picked for tcp/.test(`${message} ${msg}`), "the protocol in a plugin");
  plain.end();
  const line = await sluice.logged((line) => line.route === "lines" && "outcome" in line, "the line of TCP");
  assert.equal(line.protocol, "TCP");
  await assertBehindProxy(t, sluice);
});

/** A PROXY protocol header, then TLS or not, then each protocol; each is logged with the client's address. */
async function assertBehindProxy(t: LiveTest, sluice: Program): Promise<void> {
  const port = sluice.ports.behind!;
  const open = async (bytes = ""): Promise<Peer> =>
    (await connectTo(t, port)).send(`PROXY TCP4 192.0.2.7 127.0.0.1 1234 443\r\n${bytes}`);
  const secure = async (servername: string, protocols: string[] = []): Promise<TLSSocket> => {
    const { socket: raw } = await open();
    raw.removeAllListeners("data");
    const socket = connect({ socket: raw, servername, ALPNProtocols: protocols, rejectUnauthorized: false });
    atEnd(t, () => socket.destroy());
    await bounded(once(socket, "secureConnect"), `a handshake with ${servername}`);
    return socket;
  };
  const ask = async (socket: TLSSocket, text: string, expected: string): Promise<void> => {
    let got = "";
    socket.on("data", (data) => {
      got += data;
    });
    socket.write(text);
    await until(() => got.includes(expected), `${expected} over TLS`);
    socket.end();
  };
  const get = "GET /one HTTP/1.1\r\nhost: localhost\r\n\r\n";
  assert.equal((await (await open(get)).readResponse()).status, 200);
  const plain = await open("PING\r\n");
  await plain.take("+PONG\r\n");
  plain.end();
  await ask(await secure("localhost", ["http/1.1"]), get, "200 OK");
  await ask(await secure("localhost"), get, "200 OK");
  await ask(await secure("localhost"), "PING\r\n", "+PONG\r\n");
  await ask(await secure("far.example", ["http/1.1"]), get, "200 OK");
  const overHttp2 = await secure("localhost", ["h2"]);
  const session = connectHttp2("https://localhost", { createConnection: () => overHttp2 });
  atEnd(t, () => session.destroy());
  assert.equal((await requestHttp2(session, { ":path": "/one" })).body.toString(), "ok");
  const upgraded = await secure("localhost", ["http/1.1"]);
  const socket = new WebSocket("ws://localhost/socket", { createConnection: () => upgraded });
  atEnd(t, () => socket.terminate());
  await bounded(once(socket, "open"), "a WebSocket connection");
  assert.equal(await askSocket(socket, "x".repeat(300_000)), "x".repeat(300_000));
  socket.close();
  await closed(socket);
  // curl has a header of its own, with its own address.
  for (const more of [["--http1.1"], ["--http2"]])
    assert.equal(
      (await curl("/two", { port, ca: authority.path("ca.pem"), more: ["--haproxy-protocol", ...more] })).out,
      "ok",
    );

  const shown = () =>
    sluice.lines
      .filter((line) => line.listener === "behind" && "outcome" in line)
      .map(({ client, protocol, tls_version: tls, sni, status, path }) =>
        [client, protocol, tls, sni, status, path].join(" "),
      )
      .toSorted();
  const expected = [
    "192.0.2.7 HTTP/1.1   200 /one",
    "192.0.2.7 TCP   0 ",
    "192.0.2.7 HTTP/1.1 TLSv1.3 localhost 200 /one",
    "192.0.2.7 HTTP/1.1 TLSv1.3 localhost 200 /one",
    "192.0.2.7 TCP TLSv1.3 localhost 0 ",
    "192.0.2.7 TCP  far.example 0 ",
    "192.0.2.7 HTTP/2.0 TLSv1.3 localhost 200 /one",
    "192.0.2.7 HTTP/1.1 TLSv1.3 localhost 101 /socket",
    "127.0.0.1 HTTP/1.1 TLSv1.3 localhost 200 /two",
    "127.0.0.1 HTTP/2.0 TLSv1.3 localhost 200 /two",
  ].toSorted();
  await until(() => shown().length === expected.length, `the lines: ${shown().join("\n")}`);
  assert.deepEqual(shown(), expected);
  for (const [protocol, count] of [
    ["http1", 5],
    ["http2", 2],
    ["tcp", 2],
    ["tls", 1],
  ] as const)
    await sluice.metricIs(count, "sluice_protocols_detected_total", { listener: "behind", protocol });
}

testInUsualMode("protocols-are-detected: without a route for TCP all is HTTP, and names pass through", async (t) => {
  const app = await startUpstream(t);
  const raw = await startRawUpstream(t, (peer) => void peer.send("raw"));
  const sluice = await startSluice(
    t,
    ({ web, only, filtered, secure }) => `
listeners:
  any:
    address: 127.0.0.1:${web}
    protocol: auto
    timeouts: { detect: 300ms, head: 1s }
    routes:
      - { match: { sni: far.example }, passthrough: true, cluster: raw }
      - { match: { client: 127.0.0.0/8 }, passthrough: true, cluster: none }
      - { match: { protocol: tcp, client: 127.0.0.1 }, cluster: raw }
      - cluster: app
  only: { address: "127.0.0.1:${only}", protocol: auto, timeouts: { head: 1s }, cluster: app }
  filtered:
    address: "127.0.0.1:${filtered}"
    protocol: auto
    chain: [{ rewrite: { path: /filtered } }]
    routes: [{ match: { protocol: tcp }, cluster: raw }, { cluster: app }]
  secure: { address: "127.0.0.1:${secure}", protocol: auto, chain: [{ redirect: { https: true } }] }
clusters:
  app: ["127.0.0.1:${app.port}"]
  raw: ["127.0.0.1:${raw.port}"]
  none: []
`,
    { ports: ["only", "filtered", "secure"] },
  );
  const { port, ports } = sluice;
  const hello = connect({ port, host: "127.0.0.1", servername: "far.example" });
  hello.on("error", () => {});
  atEnd(t, () => hello.destroy());
  const passed = await raw.connection(0);
  await passed.waits(() => passed.bytes.includes("far.example"), "the hello");
  await sluice.metricIs(1, "sluice_protocols_detected_total", { listener: "any", protocol: "tls" });

  const plain = await connectTo(t, port);
  plain.send("\0\x01\x02");
  assert.equal(await plain.take("raw"), "raw", "a passthrough route is not for plain bytes");
  // A request line that does not end gets an HTTP response; other bytes do not.
  const late = await connectTo(t, port);
  late.send("GET /");
  assert.equal((await late.readResponse()).status, 408);
  const word = await connectTo(t, port);
  word.send("HELO");
  assert.equal(await word.take("raw"), "raw");
  const long = await exchange(t, port, `GET /${"a".repeat(17_000)} HTTP/1.1\r\nhost: a\r\n\r\n`);
  assert.equal(long.status, 414);

  assert.equal((await exchange(t, ports.only!, "GET / HTTP/1.1\r\nhost: a\r\n\r\n")).status, 200);
  assert.equal((await exchange(t, ports.only!, "PING\r\n\r\n")).status, 400);

  // The chain runs for requests, and its hooks `connection` for all; a filter without them is not for TCP.
  assert.equal((await exchange(t, ports.filtered!, "GET / HTTP/1.1\r\nhost: a\r\n\r\n")).status, 200);
  assert.equal(app.requests.at(-1)!.url, "/filtered");
  assert.equal((await exchange(t, ports.secure!, "GET / HTTP/1.1\r\nhost: a\r\n\r\n")).status, 302);

  sluice.write(
    "wrong.yaml",
    `
listeners:
  any:
    address: ":1"
    protocol: auto
    routes:
      - { match: { protocol: tcp, host: a.example }, timeout: 1s, cluster: app }
      - { match: { protocol: http, alpn: h2 }, cluster: app }
  web: { address: ":2", routes: [{ match: { protocol: tcp }, cluster: app }] }
clusters: { app: ["127.0.0.1:1"] }
`,
  );
  const { stdout, stderr } = await runSluice("check", "-c", `${sluice.directory}/wrong.yaml`);
  const reported = Array.from(`${stdout}${stderr}`.matchAll(/"([\w.]+)" has no meaning/g), ([, key]) => key);
  assert.deepEqual(reported.toSorted(), ["match.alpn", "match.host", "match.protocol", "timeout"]);
});
