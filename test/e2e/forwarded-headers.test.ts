/** X-Forwarded-*: the client's address, scheme and host are taken from trusted peers only. */
import assert from "node:assert/strict";
import { exchange, startUpstream } from "./peers.ts";
import { runSluice, simpleConfig, startSluice, testInAllModes, testInUsualMode } from "./program.ts";

const forged =
  "GET / HTTP/1.1\r\nHost: shown.example\r\nX-Forwarded-For: 1.2.3.4\r\nX-Forwarded-For: 5.6.7.8\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: forged.example\r\nForwarded: for=1.2.3.4\r\nX_Forwarded_For: 9.9.9.9\r\n\r\n";

const SPELLINGS = [
  ...["X.Forwarded.For", "x~forwarded~proto", "X_Forwarded_Host", "X-Forwarded-Prefix", "X-Forwarded-Port"],
  ...["X-Forwarded-Server", "X-Forwarded-Ssl", "X_Forwarded_Scheme", "X-Forwarded-Client-Cert", "X-Real-IP"],
  ...["X_Real_IP", "x.real.ip", "FORWARDED", "Content_Length", "Transfer.Encoding"],
];

testInUsualMode(
  "no spelling of a forwarding header reaches the endpoint from an untrusted peer, in headers or trailers",
  async (t) => {
    const upstream = await startUpstream(t);
    const sluice = await startSluice(t, simpleConfig(upstream.port));
    const fields = SPELLINGS.map((name) => `${name}: forged\r\n`).join("");
    const request = `POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n${fields}\r\n1\r\nx\r\n0\r\n${fields}X-Sum: 1\r\n\r\n`;
    assert.equal((await exchange(t, sluice.port, request)).status, 200);
    const { rawHeaders, trailers } = upstream.requests[0]!;
    assert.doesNotMatch(rawHeaders.join(), /forged/);
    assert.deepEqual({ ...trailers }, { "x-sum": "1" });
  },
);

testInAllModes("forwarding headers of an untrusted peer are dropped", async (t) => {
  const upstream = await startUpstream(t);
  const sluice = await startSluice(t, simpleConfig(upstream.port, { rest: "log: { access: true }" }));
  assert.equal((await exchange(t, sluice.port, forged)).status, 200);
  const { headers, rawHeaders } = upstream.requests[0]!;
  assert.equal(headers["x-forwarded-for"], "127.0.0.1");
  assert.equal(headers["x-forwarded-proto"], "http");
  assert.equal(headers["x-forwarded-host"], "shown.example");
  assert.equal(headers.host, "shown.example");
  assert.equal(headers.forwarded, undefined);
  assert.doesNotMatch(rawHeaders.join(), /forged|1\.2\.3\.4|9\.9\.9\.9/);
  assert.match(headers.via!, /^1\.1 sluice$/);
  const line = await sluice.logged(({ status }) => status === 200, "the request");
  assert.ok(Object.values(line).includes("127.0.0.1"), JSON.stringify(line));
});

testInUsualMode("forwarding headers of a trusted peer are kept and extended", async (t) => {
  const upstream = await startUpstream(t);
  const listener = "trustedProxies: [127.0.0.0/8, 5.6.7.0/24]";
  const sluice = await startSluice(t, simpleConfig(upstream.port, { listener, rest: "log: { access: true }" }), {});
  assert.equal((await exchange(t, sluice.port, forged)).status, 200);
  const { headers } = upstream.requests[0]!;
  assert.equal(headers["x-forwarded-for"], "1.2.3.4, 5.6.7.8, 127.0.0.1");
  assert.equal(headers["x-forwarded-proto"], "https");
  assert.equal(headers["x-forwarded-host"], "forged.example");
  const line = await sluice.logged(({ status }) => status === 200, "the request");
  assert.ok(Object.values(line).includes("1.2.3.4"), JSON.stringify(line));
});

testInUsualMode(
  "filters, the authorization service, the log and the endpoint see the same client address, scheme and host",
  async (t) => {
    const auth = await startUpstream(t);
    const app = await startUpstream(t);
    const sluice = await startSluice(
      t,
      (ports) => `log: { access: true }
listeners:
  web: &web
    address: 127.0.0.1:${ports.web}
    trustedProxies: [127.0.0.1]
    chain: &chain
      - redirect: { https: true }
      - ip-filter: { deny: [192.0.2.0/24, "fe80::/10"] }
      - headers: { request: { set: { host: app.internal } } }
      - rewrite: { strip: /shop }
      - ext-auth: { cluster: auth }
    cluster: app
  open: { address: "127.0.0.1:${ports.open}", chain: [{ redirect: { https: true } }], cluster: app }
  routed:
    address: 127.0.0.1:${ports.routed}
    trustedProxies: [127.0.0.1]
    routes: [{ name: secure, match: { scheme: https }, cluster: app }, { name: plain, cluster: app }]
clusters: { app: ["127.0.0.1:${app.port}"], auth: ["127.0.0.1:${auth.port}"] }
`,
      { ports: ["open", "routed"] },
    );
    const get = (fields: string, port = sluice.port, target = "/shop/a?b=1") =>
      exchange(t, port, `GET ${target} HTTP/1.1\r\nHost: shop.example\r\n${fields}\r\n`);
    const sent = "X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Port: 8443\r\n";
    assert.equal((await get(sent)).status, 200);
    const [asked, passed] = [auth.requests[0]!.headers, app.requests[0]!.headers];
    for (const headers of [asked, passed])
      assert.deepEqual([headers["x-forwarded-proto"], headers["x-forwarded-host"]], ["https", "shop.example:8443"]);
    assert.equal(asked["x-forwarded-for"], "203.0.113.9");
    assert.equal(passed["x-forwarded-for"], "203.0.113.9, 127.0.0.1");
    assert.deepEqual([passed.host, app.requests[0]!.url], ["app.internal", "/a?b=1"]);
    const line = await sluice.logged(({ status }) => status === 200, "the request");
    assert.deepEqual([line.client, line.host, line.path], ["203.0.113.9", "shop.example:8443", "/shop/a?b=1"]);

    const plain = await get("X-Forwarded-Proto: http\r\n");
    assert.deepEqual([plain.status, plain.headers.location], [302, "https://shop.example/shop/a?b=1"]);
    assert.equal((await get(sent, sluice.ports.open!)).status, 302, "of a peer that is not trusted");
    const absolute = await get("", sluice.ports.open!, "https://shop.example/");
    assert.equal(absolute.status, 302, "by an absolute target");
    for (const address of ["192.0.2.7", "192.0.2.7:80", "::ffff:192.0.2.7", "fe80::1"])
      assert.equal((await get(`X-Forwarded-Proto: https\r\nX-Forwarded-For: ${address}\r\n`)).status, 403, address);

    const { routed } = sluice.ports;
    for (const [fields, route] of [
      ["X-Forwarded-Proto: wss\r\n", "secure"],
      ["X-Forwarded-Proto: http\r\n", "plain"],
      ["", "plain"],
    ] as const) {
      assert.equal((await get(fields, routed, `/${route}`)).status, 200);
      await sluice.logged((logged) => logged.path === `/${route}` && logged.route === route, `the route ${route}`);
    }
    for (const [url, route] of [
      [`https://shop.example:${routed}/`, "secure"],
      [`http://shop.example:${routed}/`, "plain"],
    ]) {
      const explained = await runSluice("explain", "GET", url!, "--json", "-c", `${sluice.directory}/sluice.yaml`);
      assert.equal(JSON.parse(explained.stdout).route, route, explained.stderr);
    }
  },
);
