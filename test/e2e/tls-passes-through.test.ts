/** Routes by server name and ALPN of the ClientHello: some names are passed as they are, others terminated, on one port. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect as connectPlain, createServer as createPlainServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { type ConnectionOptions, connect, createServer, type TLSSocket } from "node:tls";
import { Authority } from "../support/certificates.ts";
import { findFreePort } from "./free-port.ts";
import { missingPeers } from "./load-balancers.ts";
import { connectTo, startRawUpstream, startUpstream } from "./peers.ts";
import { atEnd, bounded, type LiveTest, startSluice, testInEachMode, testInUsualMode, until } from "./program.ts";
import { curl, handshake, subjectOf } from "./tls.ts";

const authority = new Authority();
authority.issue("own", { names: "DNS:own.example,DNS:localhost,IP:127.0.0.1" });
authority.issue("far", { names: "DNS:far.example,DNS:*.far.example" });
test.after(() => authority.remove());
const files = Object.fromEntries(["own.pem", "own.key"].map((name) => [name, authority.read(name)]));

/** nginx with the certificate of `far`, which responds with a text by https. */
async function startNginx(t: LiveTest): Promise<number> {
  const port = await findFreePort();
  const directory = mkdtempSync(join(tmpdir(), "sluice-nginx-"));
  writeFileSync(
    join(directory, "nginx.conf"),
    `daemon off; pid ${directory}/pid; error_log ${directory}/error.log; events {}
http {
  access_log off;
  server {
    listen 127.0.0.1:${port} ssl http2;
    ssl_certificate ${authority.path("far.pem")};
    ssl_certificate_key ${authority.path("far.key")};
    location / { return 200 "nginx $ssl_server_name $server_protocol"; }
  }
}
`,
  );
  const child = spawn("nginx", ["-e", `${directory}/error.log`, "-p", directory, "-c", join(directory, "nginx.conf")]);
  atEnd(t, async () => {
    child.kill("SIGTERM");
    if (child.exitCode === null) await once(child, "exit");
    rmSync(directory, { recursive: true, force: true });
  });
  await until(
    () =>
      new Promise((resolve) => {
        const probe = connectPlain(port, "127.0.0.1", () => resolve(true)).on("error", () => resolve(false));
        probe.on("connect", () => probe.destroy());
      }),
    "nginx listens",
  );
  return port;
}

const clientOf = async (t: LiveTest, port: number, servername: string, protocols: string[] = []) => {
  const socket = connect({ port, host: "127.0.0.1", servername, ALPNProtocols: protocols, rejectUnauthorized: false });
  atEnd(t, () => socket.destroy());
  await bounded(once(socket, "secureConnect"), `a handshake for ${servername}`);
  return socket;
};

/** A TLS server by node:tls, which greets with its name, the server name and the protocol. */
async function startTls(t: LiveTest, name: string, protocols: string[]): Promise<number> {
  const credentials = { cert: authority.read("far.pem"), key: authority.read("far.key") };
  const server = createServer({ ...credentials, ALPNProtocols: protocols }, (socket) => {
    socket.on("error", () => {});
    socket.end(`${name} ${socket.alpnProtocol}`);
  });
  server.on("tlsClientError", () => {});
  atEnd(t, () => server.close());
  await once(server.listen(0, "127.0.0.1"), "listening");
  return (server.address() as { port: number }).port;
}

/** A server that responds with the number of bytes, and 2 MB in all, after its client has ended its direction. */
async function startSum(t: LiveTest, isTls: boolean): Promise<number> {
  const credentials = { cert: authority.read("far.pem"), key: authority.read("far.key") };
  const serve = (socket: Socket) => {
    let size = 0;
    socket.on("error", () => {});
    socket.on("data", (data: Buffer) => {
      size += data.length;
    });
    socket.on("end", () => socket.end(`${size} `.padEnd(2_000_000, "y")));
  };
  const options = { allowHalfOpen: true };
  const server = isTls ? createServer({ ...credentials, ...options }, serve) : createPlainServer(options, serve);
  atEnd(t, () => server.close());
  await once(server.listen(0, "127.0.0.1"), "listening");
  return (server.address() as { port: number }).port;
}

const textOf = async (socket: TLSSocket) => String(Buffer.concat(await bounded(socket.toArray(), "the end")));

testInEachMode("tls-passes-through: one port terminates some names and passes others, for HTTP", async (t) => {
  const skip = missingPeers("nginx");
  if (skip !== null) return t.skip(skip);
  const nginx = await startNginx(t);
  const app = await startUpstream(t);
  const sluice = await startSluice(
    t,
    ({ web }) => `
log: { access: { fields: [default, sni] } }
listeners:
  web:
    address: 127.0.0.1:${web}
    tls: { certificates: [{ cert: own.pem, key: own.key }] }
    routes:
      - cluster: app
      - { match: { sni: ["*.far.example", far.example] }, passthrough: true, cluster: far, name: far }
clusters:
  app: ["127.0.0.1:${app.port}"]
  far: ["127.0.0.1:${nginx}"]
`,
    { files },
  );
  const { port } = sluice;
  const ca = authority.path("ca.pem");
  assert.equal((await curl("/", { port, ca })).out, "ok");
  for (const host of ["far.example", "a.far.example"])
    for (const [version, shown] of [
      ["1.1", "1.1"],
      ["2", "2.0"],
    ])
      assert.equal(
        (await curl("/", { port, ca, host, more: [`--http${version}`] })).out,
        `nginx ${host} HTTP/${shown}`,
      );
  assert.equal(subjectOf(await handshake({ port, ca, host: "far.example" })), "far");
  assert.equal(subjectOf(await handshake({ port, ca, host: "own.example" })), "own");
  assert.equal(subjectOf(await handshake({ port, ca, host: "own.example", more: ["-tls1_2"] })), "own");
  assert.equal(subjectOf(await handshake({ port, ca, host: "far.example", more: ["-tls1_2"] })), "far");
  const explain = async (url: string) => {
    const body = JSON.stringify({ url, listener: "web" });
    const { text } = await sluice.ask("/api/v1/explain", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body,
    });
    const { steps = [] }: { steps: Record<string, unknown>[] } = JSON.parse(text);
    assert.ok(steps.length > 0, text);
    return ["route", "pick"].map((name) => {
      const { route, cluster } = steps.find(({ step }) => step === name) ?? {};
      return route ?? cluster;
    });
  };
  assert.deepEqual(await explain("https://far.example/"), ["far", "far"], "explain");
  assert.deepEqual(await explain("https://own.example/"), ["0", "app"], "explain");
  await sluice.metricIs(6, "sluice_relay_connections_total", { listener: "web", route: "far", result: "connected" });
  const line = await sluice.logged((line) => line.route === "far", "the line of a passed connection");
  assert.deepEqual([line.sni, line.cluster, line.status], ["far.example", "far", 0]);
});

testInUsualMode(
  "tls-passes-through: routes by name and ALPN, without TLS of its own, and all else is closed",
  async (t) => {
    const one = await startTls(t, "one", ["h2", "x/1"]);
    const two = await startTls(t, "two", ["x/1"]);
    const any = await startRawUpstream(t, (peer) => void peer.send("hello "));
    const sluice = await startSluice(
      t,
      ({ web, open, closed }) => `
log: { access: true }
listeners:
  web:
    address: 127.0.0.1:${web}
    protocol: tcp
    timeouts: { detect: 300ms }
    routes:
      - { match: { sni: a.example, alpn: [x/1] }, cluster: two }
      - { match: { sni: a.example }, cluster: one }
  open:
    address: 127.0.0.1:${open}
    protocol: tcp
    timeouts: { detect: 300ms }
    routes:
      - { match: { sni: a.example }, cluster: one }
      - { cluster: any }
  closed: { address: "127.0.0.1:${closed}", protocol: tcp, cluster: any }
clusters:
  one: ["127.0.0.1:${one}"]
  two: ["127.0.0.1:${two}"]
  any: ["127.0.0.1:${any.port}"]
`,
      { ports: ["open", "closed"] },
    );
    const { port, ports } = sluice;
    assert.equal(await textOf(await clientOf(t, port, "a.example", ["x/1"])), "two x/1");
    assert.equal(await textOf(await clientOf(t, port, "A.Example", ["h2"])), "one h2");
    assert.equal(await textOf(await clientOf(t, port, "a.example")), "one false");

    // Names without a route, no TLS at all, and garbage that begins like it.
    for (const [what, bytes] of [
      ["another name", null],
      ["plain text", Buffer.from("GET / HTTP/1.1\r\n\r\n")],
      ["garbage", Buffer.concat([Buffer.from([22, 3, 1, 0, 9, 1, 0, 0, 5]), Buffer.alloc(5, 255)])],
      ["another record", Buffer.from([21, 3, 1, 0, 2, 1, 0])],
    ] as const) {
      const before = await sluice.metric("sluice_relay_connections_total", { listener: "web", result: "no_route" });
      if (bytes === null) {
        const socket = connect({ port, host: "127.0.0.1", servername: "b.example" });
        const [error] = await bounded(once(socket, "error"), what);
        assert.match(String(error), /ECONNRESET|disconnected/);
      } else {
        const peer = await connectTo(t, port);
        peer.send(bytes);
        assert.equal(await bounded(peer.closed, what), "reset", what);
      }
      await sluice.metricIs(before + 1, "sluice_relay_connections_total", { listener: "web", result: "no_route" });
    }
    await sluice.logged(({ event }) => event === "no_route", "the missing route");

    // Without conditions on the hello: plain bytes at once, a silent client after the time limit.
    const plain = await connectTo(t, ports.open!);
    plain.send("HELO\r\n");
    await plain.take("hello ");
    await (await any.connection(0)).take("HELO\r\n");
    const silent = await connectTo(t, ports.open!);
    await silent.take("hello ");

    // A hello that does not end is bounded in time and in size.
    const slow = await connectTo(t, ports.open!);
    slow.send(Buffer.from([22, 3, 1]));
    await bounded(slow.closed, "the slow hello");
    await sluice.metricIs(1, "sluice_tls_handshakes_total", { listener: "open", result: "timeout" });
    const large = await connectTo(t, ports.open!);
    large.send(Buffer.concat([Buffer.from([22, 3, 1, 64, 0, 1, 1, 0, 0]), Buffer.alloc(70_000, 22)]));
    await bounded(large.closed, "the large hello");
    await sluice.metricIs(1, "sluice_tls_handshakes_total", { listener: "open", result: "failed" });
  },
);

testInUsualMode("tls-passes-through: TLS is terminated before TCP, with and without TLS to the endpoint", async (t) => {
  const plain = await startRawUpstream(t, (peer) => void peer.send("plain."));
  const secure = await startTls(t, "secure", ["x/1"]);
  const far = await startTls(t, "far", ["x/1"]);
  const sums = [await startSum(t, false), await startSum(t, true)];
  const sluice = await startSluice(
    t,
    ({ web, sum }) => `
listeners:
  sum:
    address: 127.0.0.1:${sum}
    protocol: tcp
    tls: { certificates: [{ cert: own.pem, key: own.key }] }
    routes: [{ match: { sni: localhost }, cluster: sum }, { cluster: sums }]
  web:
    address: 127.0.0.1:${web}
    protocol: tcp
    tls: { certificates: [{ cert: own.pem, key: own.key }] }
    routes:
      - { match: { sni: own.example }, cluster: plain }
      - { match: { alpn: x/2 }, cluster: plain }
      - { match: { sni: "*.example" }, passthrough: true, cluster: far }
      - { match: { sni: localhost }, cluster: secure }
clusters:
  plain: ["127.0.0.1:${plain.port}"]
  sum: ["127.0.0.1:${sums[0]}"]
  sums: { endpoints: ["127.0.0.1:${sums[1]}"], tls: { ca: ca.pem, sni: far.example } }
  secure: { endpoints: ["127.0.0.1:${secure}"], tls: { ca: ca.pem, sni: far.example } }
  far: ["127.0.0.1:${far}"]
`,
    { ports: ["sum"], files: { ...files, "ca.pem": authority.read("ca.pem") } },
  );
  // A client ends its direction, by close_notify and FIN, and gets a response of the other one after that.
  for (const servername of ["localhost", "own.example", "own.example", "own.example"]) {
    const options = { port: sluice.ports.sum!, host: "127.0.0.1", servername, allowHalfOpen: true };
    const socket = connect({ ...options, rejectUnauthorized: false } as ConnectionOptions);
    atEnd(t, () => socket.destroy());
    socket.end(Buffer.alloc(3_000_000, "x"));
    const text = await textOf(socket);
    assert.deepEqual([text.length, text.slice(0, 8)], [2_000_000, "3000000 "], servername);
  }
  await sluice.metricIs(4, "sluice_tunnels_ended_total", { listener: "sum", reason: "client_closed" });
  const first = async (name: string, protocols: string[] = []) => {
    const socket = await clientOf(t, sluice.port, name, protocols);
    const [data] = await bounded(once(socket, "data"), `bytes for ${name}`);
    const certificate = socket.getPeerCertificate().subject.CN;
    socket.destroy();
    return `${data} ${certificate}`;
  };
  assert.equal(await first("own.example", ["unknown/1"]), "plain. own");
  assert.equal(await first("other.example", ["x/2"]), "plain. own");
  assert.equal(await first("other.example", ["x/1"]), "far x/1 far");
  assert.equal(await first("localhost"), "secure false own");
});
