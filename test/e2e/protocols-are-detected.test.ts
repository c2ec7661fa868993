/** `protocol: auto`: TLS, HTTP/1, HTTP/2 and TCP are told apart by their first bytes, within one time limit. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import { connect } from "node:tls";
import { compileSource } from "../contract/plugin-harness.ts";
import { Authority } from "../support/certificates.ts";
import { connectTo, exchange, startRawUpstream, startUpstream } from "./peers.ts";
import { atEnd, bounded, runSluice, startSluice, testInEachMode, testInUsualMode } from "./program.ts";
import { curl, run } from "./tls.ts";

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
  const sluice = await startSluice(
    t,
    ({ web }) => `
log: { level: info, access: { fields: [default, protocol, tls_version] } }
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
clusters:
  app: ["127.0.0.1:${app.port}"]
  lines: { endpoints: ["127.0.0.1:${lines.port}"], strategy: logs }
`,
    {
      files: {
        "site.pem": authority.read("site.pem"),
        "site.key": authority.read("site.key"),
        "logs.wasm": await compileSource(STRATEGY),
      },
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
});

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
  // A request line that does not end is answered as HTTP; other bytes are not.
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
