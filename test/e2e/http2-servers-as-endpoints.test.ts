/** HTTP/2 servers of other projects as endpoints: each gets and gives the same messages, with its own settings. */
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { constants, type ServerHttp2Stream } from "node:http2";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { Authority } from "../support/certificates.ts";
import { findFreePort } from "./free-port.ts";
import { missingPeers, startHaproxy, startNghttpd, startNginx } from "./load-balancers.ts";
import { atEnd, type LiveTest, startSluice, testInUsualMode } from "./program.ts";
import { ask, type Client, digest, type Handler, http1Client, http2Client, startEndpoint } from "./protocol-pairs.ts";

const authority = new Authority();
authority.issue("server", { names: "DNS:localhost,IP:127.0.0.1" });
process.on("exit", () => authority.remove());

const BIG = Buffer.alloc(1 << 20, "0123456789abcdef");
/** More than one frame of header fields, both ways. */
const LARGE = Object.fromEntries([0, 1, 2, 3].map((i) => [`x-large-${i}`, "{|}~".repeat(1500)]));

/** The server behind those that are proxies. */
const origin: Handler = (incoming, outgoing) => {
  const { url } = incoming;
  if (url === "/empty") return void outgoing.writeHead(204).end();
  if (url === "/unchanged") return void outgoing.writeHead(304, { etag: '"1"' }).end();
  if (url === "/big") return void outgoing.writeHead(200, { "content-length": BIG.length }).end(BIG);
  if (url === "/hints") outgoing.writeEarlyHints({ link: "</a.css>; rel=preload" });
  if (url === "/large") return void outgoing.writeHead(200, LARGE).end();
  const chunks: Buffer[] = [];
  incoming.on("data", (chunk: Buffer) => chunks.push(chunk));
  incoming.on("end", () => {
    const body = Buffer.concat(chunks);
    if (url === "/echo") return void outgoing.end(body);
    if (url === "/trailers") {
      outgoing.writeHead(200, { trailer: "x-sum" });
      outgoing.write("body");
      outgoing.addTrailers({ "x-sum": "7" });
      return void outgoing.end();
    }
    const { method, headers, trailers } = incoming;
    outgoing.end(JSON.stringify({ method, headers, trailers, size: body.length, digest: digest(body) }));
  });
};

type Ask = Parameters<typeof ask>[1];
type Check = (send: (sent: Ask) => ReturnType<typeof ask>, isHttp1: boolean) => Promise<void>;

/** What a proxy before `origin` keeps. `interim`, `trailers`: in both directions. */
const checkProxy =
  ({ interim, trailers }: { readonly interim: boolean; readonly trailers: boolean }): Check =>
  async (send) => {
    for (const size of [0, 1, 16_385, 70_000, BIG.length]) {
      const body = BIG.subarray(0, size);
      assert.ok((await send({ path: "/echo", method: "POST", body })).body.equals(body), `${size} bytes`);
    }
    const all = Array.from({ length: 60 }, (_, i) => send({ path: "/n", headers: { "x-n": `${i}` } }));
    for (const [i, { body }] of (await Promise.all(all)).entries())
      assert.equal(JSON.parse(body.toString()).headers["x-n"], `${i}`);
    assert.ok((await send({ path: "/big" })).body.equals(BIG));
    const head = await send({ path: "/big", method: "HEAD" });
    assert.deepEqual([head.status, head.headers["content-length"], head.body.length], [200, `${BIG.length}`, 0]);
    assert.equal((await send({ path: "/empty" })).status, 204);
    const unchanged = await send({ path: "/unchanged" });
    assert.deepEqual([unchanged.status, unchanged.headers.etag], [304, '"1"']);
    const large = await send({ path: "/large" });
    for (const [name, value] of Object.entries(LARGE)) assert.equal(large.headers[name], value);
    const got = JSON.parse((await send({ path: "/n", headers: LARGE })).body.toString());
    for (const [name, value] of Object.entries(LARGE)) assert.equal(got.headers[name], value);
    if (interim) assert.deepEqual((await send({ path: "/hints" })).interim, [103]);
    if (!trailers) return;
    assert.equal((await send({ path: "/trailers" })).trailers["x-sum"], "7");
    const sent = await send({ path: "/n", method: "POST", body: BIG, trailers: { "x-end": "1" } });
    const { size, trailers: received } = JSON.parse(sent.body.toString());
    assert.deepEqual([size, received], [BIG.length, { "x-end": "1" }]);
  };

/** nghttpd serves files, returns bodies of POST and adds a trailer to each response. */
const checkNghttpd: Check = async (send, isHttp1) => {
  for (const size of [1, 16_385, 70_000, BIG.length]) {
    const body = BIG.subarray(0, size);
    const echoed = await send({ path: "/echo", method: "POST", body });
    assert.ok(echoed.body.equals(body), `${size} bytes`);
  }
  const all = await Promise.all(Array.from({ length: 40 }, () => send({ path: "/file.txt" })));
  // HTTP/1 has no trailers behind a body whose length is known.
  const trailer = isHttp1 ? undefined : "7";
  for (const { body, trailers } of all) assert.deepEqual([body.equals(BIG), trailers["x-sum"]], [true, trailer]);
  const head = await send({ path: "/file.txt", method: "HEAD" });
  assert.deepEqual([head.status, head.headers["content-length"], head.body.length], [200, `${BIG.length}`, 0]);
  const modified = { "if-modified-since": `${head.headers["last-modified"]}` };
  assert.equal((await send({ path: "/file.txt", headers: modified })).status, 304);
  assert.equal((await send({ path: "/none", headers: LARGE })).status, 404);
};

/** What an endpoint that ends its connections, or refuses streams, does not process is sent again. */
const checkRepeats: Check = async (send) => {
  for (let round = 0; round < 4; round++) {
    const bodies = Array.from({ length: 40 }, (_, i) => BIG.subarray(i, 2 * i + round * 500));
    const all = await Promise.all(bodies.map((body) => send({ path: "/echo", method: "POST", body })));
    for (const [i, { status, body }] of all.entries())
      assert.deepEqual([status, body.equals(bodies[i]!)], [200, true], `request ${i} of round ${round}`);
  }
};

/** Node's server, which refuses one stream of 23, and ends a connection in order with one of 61. */
function startRefusing(t: LiveTest): ReturnType<typeof startEndpoint> {
  let count = 0;
  return startEndpoint(t, "http2", (incoming, outgoing) => {
    const { stream } = outgoing as unknown as { stream: ServerHttp2Stream };
    count++;
    if (count % 23 === 0) return stream.close(constants.NGHTTP2_REFUSED_STREAM);
    if (count % 61 === 0) stream.session!.close();
    origin(incoming, outgoing);
  });
}

/** Runs `check` with clients of both protocols, for each server of a cluster with that name. */
async function checkAll(t: LiveTest, checks: Readonly<Record<string, Check>>, clusters: string): Promise<void> {
  const names = Object.keys(checks);
  const config = (ports: { web: number }) => `
listeners:
  web:
    address: 127.0.0.1:${ports.web}
    limits: { head: 64KiB }
    routes: [${names.map((name) => `{ match: { prefix: /${name}/ }, cluster: ${name}, chain: [rewrite: { strip: /${name} }] }`).join(", ")}]
clusters:
${clusters}`;
  const sluice = await startSluice(t, config);
  for (const client of [http1Client(t, sluice.port), await http2Client(t, sluice.port)])
    for (const [name, check] of Object.entries(checks)) {
      const send = (sent: Ask) => ask(client as Client, { ...sent, path: `/${name}${sent.path}` });
      await t.test(`${client.name} to ${name}`, () => check(send, client.name === "HTTP/1"));
    }
  await sluice.metricIs(0, "sluice_requests_in_flight");
  await sluice.metricIs(0, "sluice_internal_errors_total");
  for (const cluster of names) await sluice.metricIs(0, "sluice_upstream_http2_errors_total", { cluster });
  for (const [cluster, check] of Object.entries(checks)) {
    if (check !== checkRepeats) continue;
    const goAways = await sluice.metric("sluice_upstream_http2_goaways_total", { cluster });
    assert.ok(goAways > 2, `${cluster}: ${goAways} GOAWAY`);
  }
}

const TLS = `tls: { ca: ${authority.path("ca.pem")}, sni: localhost }`;

const noNghttpd = missingPeers("nghttpd");
if (noNghttpd !== null) test("nghttpd", { skip: noNghttpd });
else
  testInUsualMode("nghttpd, with small windows, one stream, no header table and padding", async (t) => {
    const directory = mkdtempSync(join(tmpdir(), "sluice-nghttpd-"));
    atEnd(t, () => rmSync(directory, { recursive: true, force: true }));
    mkdirSync(join(directory, "htdocs"));
    writeFileSync(join(directory, "htdocs/file.txt"), BIG);
    const variants = {
      plain: [],
      // A window of 1,023 bytes for each request's body.
      narrow: ["-m1", "-w10", "-c0", "--encoder-header-table-size=0", "-b255"],
      tls: [authority.path("server.key"), authority.path("server.pem")],
    };
    let clusters = "";
    for (const [name, args] of Object.entries(variants)) {
      const port = await findFreePort();
      const files = name === "tls" ? args : ["--no-tls", ...args];
      const options = ["-d", join(directory, "htdocs"), "--echo-upload", "--trailer=x-sum: 7"];
      await startNghttpd(t, port, options, files);
      clusters += `  ${name}: { protocol: http2, endpoints: ["127.0.0.1:${port}"]${name === "tls" ? `, ${TLS}` : ""} }\n`;
    }
    await checkAll(t, { plain: checkNghttpd, narrow: checkNghttpd, tls: checkNghttpd }, clusters);
  });

const noProxies = missingPeers("nginx", "haproxy");
if (noProxies !== null) test("nginx and HAProxy", { skip: noProxies });
else
  testInUsualMode("nginx and HAProxy, in plain text and by ALPN", async (t) => {
    const { port: behind } = await startEndpoint(t, "http1", origin);
    const { port: refusing } = await startRefusing(t);
    const [nginx, secure, haproxy] = [await findFreePort(), await findFreePort(), await findFreePort()];
    const recycled = await findFreePort();
    const certificate = `ssl_certificate ${authority.path("server.pem")}; ssl_certificate_key ${authority.path("server.key")};`;
    await startNginx(
      t,
      nginx,
      `http {
  access_log off; client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3; uwsgi_temp_path t4; scgi_temp_path t5;
  server {
    listen 127.0.0.1:${nginx} http2; listen 127.0.0.1:${secure} ssl http2; ${certificate}
    client_max_body_size 0; large_client_header_buffers 8 32k; proxy_buffer_size 64k; proxy_buffers 8 64k; proxy_busy_buffers_size 128k;
    location / { proxy_pass http://127.0.0.1:${behind}; proxy_http_version 1.1; }
  }
  server {
    listen 127.0.0.1:${recycled} http2; keepalive_requests 7;
    location / { proxy_pass http://127.0.0.1:${behind}; proxy_http_version 1.1; }
  }
}`,
    );
    await startHaproxy(
      t,
      haproxy,
      `global\n  tune.bufsize 65536\nlisten web\n  mode http\n  bind 127.0.0.1:${haproxy} proto h2\n  server s 127.0.0.1:${behind}\n`,
    );
    const clusters = `
  nginx: { protocol: http2, endpoints: ["127.0.0.1:${nginx}"] }
  secure: { protocol: auto, endpoints: ["127.0.0.1:${secure}"], ${TLS} }
  haproxy: { protocol: http2, endpoints: ["127.0.0.1:${haproxy}"] }
  recycled: { protocol: http2, endpoints: ["127.0.0.1:${recycled}"] }
  refusing: { protocol: http2, endpoints: ["127.0.0.1:${refusing}"] }
`;
    const checkNginx = checkProxy({ interim: false, trailers: false });
    const checkHaproxy = checkProxy({ interim: true, trailers: true });
    await checkAll(
      t,
      { nginx: checkNginx, secure: checkNginx, haproxy: checkHaproxy, recycled: checkRepeats, refusing: checkRepeats },
      clusters,
    );
  });
