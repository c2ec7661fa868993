/** The configurations of docs/protocols.md, run unchanged except for addresses. Each has a check, by its heading. */
import assert from "node:assert/strict";
import { Resolver } from "node:dns/promises";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer as createHttp2Server } from "node:http2";
import { createServer } from "node:https";
import { type AddressInfo, createServer as createTcpServer } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { WebSocket } from "ws";
import { readProxyHeader } from "../../src/net/proxy-protocol.ts";
import { Authority } from "../support/certificates.ts";
import { DnsServer } from "../support/dns-server.ts";
import { call, openClient, startService } from "./grpc.ts";
import { openSession, request } from "./http2.ts";
import { connectTo, startRawUpstream, startUpstream } from "./peers.ts";
import {
  atEnd,
  bounded,
  closeIdleConnections,
  type LiveTest,
  type Program,
  reuseSluice,
  testInUsualMode,
} from "./program.ts";
import { askPlain, curl } from "./tls.ts";
import { ask, open, startEcho } from "./websockets.ts";

const authority = new Authority();
authority.issue("site");
authority.issue("far", { names: "DNS:far.example" });
test.after(() => authority.remove());

type Check = {
  /** Starts the servers of the configuration, by their addresses in it; their ports. */
  readonly peers: (t: LiveTest) => Promise<Record<string, number>>;
  readonly check: (t: LiveTest, sluice: Program) => Promise<void>;
};

async function startApp(t: LiveTest): Promise<Record<string, number>> {
  const { port } = await startUpstream(t, (_, response) => response.end("ok"));
  return { "127.0.0.1:9001": port };
}

const checks: Record<string, Check> = {
  "HTTP/1.1 and HTTP/2": {
    peers: startApp,
    async check(t, { url }) {
      assert.equal(await (await fetch(url)).text(), "ok");
      const session = await openSession(t, url);
      assert.equal(String((await request(session, { ":path": "/" })).body), "ok");
    },
  },
  HTTPS: {
    peers: startApp,
    async check(_, { port }) {
      for (const version of ["1.1", "2"]) {
        const more = [`--http${version}`, "-w", " %{http_version}"];
        assert.equal((await curl("/", { port, ca: authority.path("ca.pem"), more })).out, `ok ${version}`);
      }
    },
  },
  WebSocket: {
    async peers(t) {
      const { port } = await startEcho(t);
      return { ...(await startApp(t)), "127.0.0.1:9002": port };
    },
    async check(t, { port, url }) {
      assert.equal(await ask(await open(t, port, "/chat"), "hello"), "hello");
      const [error] = await bounded(once(new WebSocket(`${url}/other`), "error"), "a refused upgrade");
      assert.match(String(error), /Unexpected server response: 200/);
    },
  },
  TCP: {
    async peers(t) {
      const greet = (name: string) => startRawUpstream(t, (peer) => void peer.send(name));
      return { "127.0.0.1:9001": (await greet("one.")).port, "127.0.0.1:9002": (await greet("two.")).port };
    },
    async check(t, { port }) {
      const names = [await connectTo(t, port), await connectTo(t, port)].map((peer) => peer.take("."));
      assert.deepEqual((await Promise.all(names)).toSorted(), ["one.", "two."]);
    },
  },
  "TLS passthrough": {
    async peers(t) {
      const credentials = { cert: authority.read("far.pem"), key: authority.read("far.key") };
      const server = createServer(credentials, (_, response) => response.end("far"));
      atEnd(t, () => server.close());
      await once(server.listen(0, "127.0.0.1"), "listening");
      return { ...(await startApp(t)), "127.0.0.1:9002": (server.address() as AddressInfo).port };
    },
    async check(_, { port }) {
      const ca = authority.path("ca.pem");
      assert.equal((await curl("/", { port, ca })).out, "ok");
      assert.equal((await curl("/", { port, ca, host: "far.example" })).out, "far");
    },
  },
};

checks["HTTP, HTTPS and TCP on one port"] = {
  async peers(t) {
    const { port } = await startRawUpstream(t, (peer) => void peer.send("broker."));
    return { ...(await startApp(t)), "127.0.0.1:9002": port };
  },
  async check(t, { port, url }) {
    assert.equal((await curl("/", { port, ca: authority.path("ca.pem") })).out, "ok");
    assert.equal(await (await fetch(url)).text(), "ok");
    const peer = await connectTo(t, port);
    assert.equal(await peer.send("PING\r\n").take("."), "broker.");
  },
};

checks.UDP = {
  async peers(t) {
    const servers = [await new DnsServer().start(), await new DnsServer().start()];
    for (const server of servers) {
      server.zone.addresses.set("app.test", ["192.0.2.1"]);
      atEnd(t, () => server.close());
    }
    return Object.fromEntries(
      servers.map(({ address }, i) => [`127.0.0.1:900${i + 1}`, Number(address.split(":")[1])]),
    );
  },
  async check(_, { port }) {
    const resolver = new Resolver();
    resolver.setServers([`127.0.0.1:${port}`]);
    assert.deepEqual(await resolver.resolve4("app.test"), ["192.0.2.1"]);
  },
};

checks["PROXY protocol from a load balancer"] = {
  async peers(t) {
    const { port } = await startUpstream(t, ({ headers }, response) => response.end(headers["x-forwarded-for"]));
    return { "127.0.0.1:9001": port };
  },
  async check(_, { port }) {
    const header = "PROXY TCP4 192.0.2.7 192.0.2.1 12345 80\r\n";
    const bytes = await askPlain(port, `${header}GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n`);
    assert.match(bytes.toString(), /\r\n\r\n192\.0\.2\.7$/);
    assert.equal(String(await askPlain(port, "GET / HTTP/1.1\r\nhost: a\r\n\r\n")), "");
  },
};
checks["PROXY protocol to endpoints"] = {
  async peers(t) {
    const server = createTcpServer((socket) =>
      socket.once("data", (data: Buffer) => {
        const header = readProxyHeader(data, 0, data.length);
        const body = header.state === "done" ? header.facts.source : header.state;
        socket.end(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
      }),
    );
    atEnd(t, () => server.close());
    await once(server.listen(0, "127.0.0.1"), "listening");
    return { "127.0.0.1:9001": (server.address() as AddressInfo).port };
  },
  async check(_, { url }) {
    assert.equal(await (await fetch(url)).text(), "127.0.0.1");
  },
};
checks["HTTP/3 in front"] = {
  async peers(t) {
    const headers = { "alt-svc": 'h3=":9001"' };
    const { port } = await startUpstream(t, (_, response) => response.writeHead(200, headers).end("ok"));
    return { "127.0.0.1:9001": port };
  },
  async check(t, { url }) {
    const named = async (path: string) => (await fetch(`${url}${path}`)).headers.get("alt-svc");
    assert.deepEqual([await named("/"), await named("/internal/")], ['h3=":443"; ma=86400', null]);
    const { headers } = await request(await openSession(t, url), { ":path": "/" });
    assert.equal(headers["alt-svc"], 'h3=":443"; ma=86400', "over HTTP/2");
  },
};
checks["Limits of bandwidth"] = {
  peers: startApp,
  async check(_, { url }) {
    assert.equal(await (await fetch(`${url}/downloads/x`)).text(), "ok");
  },
};
checks["Limits of connections"] = {
  peers: startApp,
  async check(_, { url }) {
    assert.equal(await (await fetch(url)).text(), "ok");
  },
};

checks["HTTP/2 to endpoints"] = {
  async peers(t) {
    const server = createHttp2Server((_, response) => response.end("ok over HTTP/2"));
    await once(server.listen(0, "127.0.0.1"), "listening");
    atEnd(t, () => server.close());
    const tls = createServer({ cert: authority.read("site.pem"), key: authority.read("site.key") });
    await once(tls.listen(0, "127.0.0.1"), "listening");
    atEnd(t, () => tls.close());
    const portOf = (of: { address(): unknown }): number => (of.address() as AddressInfo).port;
    return { "127.0.0.1:9001": portOf(server), "10.0.0.1:443": portOf(tls) };
  },
  async check(t, { url }) {
    assert.equal(await (await fetch(url)).text(), "ok over HTTP/2");
    const session = await openSession(t, url);
    assert.equal(String((await request(session, { ":path": "/" })).body), "ok over HTTP/2");
    // The endpoint has no certificate of a public authority.
    const response = await fetch(`${url}/api/`);
    assert.match(response.headers.get("proxy-status")!, /error=tls_certificate_error/);
  },
};

checks.gRPC = {
  async peers(t) {
    return { "127.0.0.1:9001": (await startService(t)).port, "127.0.0.1:9002": (await startService(t)).port };
  },
  async check(t, { port }) {
    const client = openClient(t, port);
    assert.equal((await call(client, { data: "hello" })).data, "hello");
    assert.equal((await call(client, {}, { path: "/other.Service/Method" })).status.code, 12);
  },
};
checks["gRPC-Web"] = {
  peers: checks.gRPC.peers,
  async check(_, { url }) {
    const message = Buffer.from('{"data":"hello"}');
    const body = Buffer.concat([Buffer.from([0, 0, 0, 0, message.length]), message]);
    const headers = { "content-type": "application/grpc-web+proto", origin: "https://app.example.com" };
    const response = await fetch(`${url}/test.Echo/Unary`, { method: "POST", headers, body });
    assert.equal(response.headers.get("access-control-allow-origin"), headers.origin);
    assert.match(await response.text(), /hello[\s\S]*grpc-status:0\r\n/);
  },
};

const sections = readFileSync(join(import.meta.dirname, "../../docs/protocols.md"), "utf8")
  .split(/^## /m)
  .slice(1);

for (const section of sections) {
  const title = section.split("\n", 1)[0]!;
  const [, config] = /^```yaml\n(.*?)^```$/ms.exec(section) ?? [];
  if (config === undefined) continue;
  testInUsualMode(`docs/protocols.md: ${title}`, async (t) => {
    const entry = checks[title];
    assert.ok(entry !== undefined, "it has no check");
    const files = Object.fromEntries(["site.pem", "site.key", "ca.pem"].map((name) => [name, authority.read(name)]));
    const peers = await entry.peers(t);
    closeIdleConnections();
    const sluice = await reuseSluice(
      t,
      ({ web }) =>
        Object.entries(peers)
          .reduce((text, [address, port]) => text.replaceAll(address, `127.0.0.1:${port}`), config)
          .replace(/":(8080|8443)"/, `"127.0.0.1:${web}"`),
      { files },
    );
    await entry.check(t, sluice);
  });
}
