/** proxy-protocol-from-load-balancers: the client's address and further facts come from the header, only from trusted peers. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { before, test } from "node:test";
import { crc32c } from "../../src/net/crc32c.ts";
import { compileSource } from "../contract/plugin-harness.ts";
import { Authority } from "../support/certificates.ts";
import { findFreePort } from "./free-port.ts";
import { hasStream, missingPeers, startHaproxy, startNginx } from "./load-balancers.ts";
import { connectTo, startUpstream } from "./peers.ts";
import { type Program, startSluice, testInEachMode } from "./program.ts";
import { ask, curl, run } from "./tls.ts";

const skip = missingPeers("haproxy");
const authority = new Authority();
authority.issue("site");
authority.issue("client");
test.after(() => authority.remove());

const SOURCE = `import { Connection, Request } from "sluice/sdk";
export function onConnection(connection: Connection): void {
  if (connection.clientAddress == "198.51.100.66") connection.deny();
  if (connection.proxyTlv(2) == "denied.example") connection.deny();
}
export function onRequest(req: Request): void {
  const facts = [req.clientAddress, req.proxyPeer, req.proxyTlv(2), req.proxySslTlv(33), req.proxySslTlv(34)];
  req.headers.set("x-facts", facts.join(" "));
  req.headers.set("x-unique", req.proxyTlv(5));
}`;
let plugin: Uint8Array;
before(async () => {
  plugin = await compileSource(SOURCE);
});

type Facts = { facts: string; unique: string; forwarded: string };

/** A listener `web` behind load balancers at 127.0.0.1, and `tls`, the same with TLS. */
const config =
  (upstream: number, more = "") =>
  (ports: Program["ports"]) =>
    `
plugins: { facts: { wasm: ./facts.wasm } }
log: { access: { fields: [client, peer, "proxy:peer", "proxy:version", "proxy:destination", "proxy:ssl_cn", status] } }
listeners:
  web:
    address: 127.0.0.1:${ports.web}
    proxyProtocol: [127.0.0.1]
    chain: [facts]
    cluster: app
    timeouts: { handshake: 500ms }
    ${more}
  tls:
    address: 127.0.0.1:${ports.tls}
    proxyProtocol: { from: 127.0.0.0/8, optional: true }
    tls: { certificates: [{ cert: ./site.pem, key: ./site.key }] }
    chain: [facts]
    cluster: app
  relay:
    address: 127.0.0.1:${ports.relay}
    protocol: tcp
    proxyProtocol: 127.0.0.1
    routes: [{ match: { client: 127.0.0.5 }, cluster: app }]
clusters: { app: [127.0.0.1:${upstream}] }
`;

async function startBoth(t: Parameters<Parameters<typeof testInEachMode>[1]>[0], more = ""): Promise<Program> {
  const upstream = await startUpstream(t, ({ headers }, response) =>
    response.end(
      JSON.stringify({
        facts: headers["x-facts"],
        unique: headers["x-unique"] ?? "",
        forwarded: headers["x-forwarded-for"],
      }),
    ),
  );
  const files = {
    "facts.wasm": plugin,
    "site.pem": authority.read("site.pem"),
    "site.key": authority.read("site.key"),
  };
  return startSluice(t, config(upstream.port, more), { files, ports: ["tls", "relay"] });
}

/** A request by curl from 127.0.0.5. */
async function askFrom5(url: string, ...more: string[]): Promise<Facts> {
  const { out } = await run("curl", ["-sS", "-m", "10", "-k", "--interface", "127.0.0.5", ...more, url]);
  return JSON.parse(out);
}

testInEachMode("HAProxy, nginx and curl as senders", async (t) => {
  if (skip !== null) return t.skip(skip);
  const sluice = await startBoth(t);
  const { web, tls, relay } = sluice.ports;
  const [one, two, terminated, passed, relayed, nginx] = [
    await findFreePort(),
    await findFreePort(),
    await findFreePort(),
    await findFreePort(),
    await findFreePort(),
    await findFreePort(),
  ];
  const pem = authority.path("bundle.pem");
  writeFileSync(pem, `${authority.read("site.pem")}${authority.read("site.key")}`);
  await startHaproxy(
    t,
    one,
    `listen one
  bind 127.0.0.1:${one}
  server s 127.0.0.1:${web} send-proxy
listen two
  bind 127.0.0.1:${two}
  mode http
  unique-id-format id-%ci
  server s 127.0.0.1:${web} send-proxy-v2 proxy-v2-options crc32c,unique-id
listen terminated
  bind 127.0.0.1:${terminated} ssl crt ${pem} ca-file ${authority.path("ca.pem")} verify optional
  server s 127.0.0.1:${web} send-proxy-v2-ssl-cn proxy-v2-options ssl,cert-cn,authority
listen relayed
  bind 127.0.0.1:${relayed}
  server s 127.0.0.1:${relay} send-proxy-v2
listen passed
  bind 127.0.0.1:${passed}
  server s 127.0.0.1:${tls} send-proxy-v2
`,
  );
  const from5 = { facts: "127.0.0.5 127.0.0.1", unique: "", forwarded: "127.0.0.5" };
  assert.deepEqual(await askFrom5(`http://127.0.0.1:${one}/`), from5);
  assert.deepEqual(await askFrom5(`http://127.0.0.1:${one}/`, "--http2-prior-knowledge"), from5);
  if (hasStream) {
    const relay = `listen 127.0.0.1:${nginx}; proxy_pass 127.0.0.1:${web}; proxy_protocol on;`;
    await startNginx(t, nginx, `stream { server { ${relay} } }`);
    assert.deepEqual(await askFrom5(`http://127.0.0.1:${nginx}/`), from5);
  }
  assert.deepEqual(await askFrom5(`http://127.0.0.1:${two}/`), { ...from5, unique: "id-127.0.0.5" });
  assert.deepEqual(await askFrom5(`https://127.0.0.1:${passed}/`), from5, "TLS begins behind the header");
  assert.deepEqual(await askFrom5(`http://127.0.0.1:${relayed}/`), { unique: "" }, "TCP, routed by the address");
  const { facts } = await askFrom5(
    `https://site.example:${terminated}/`,
    "--connect-to",
    `::127.0.0.1:${terminated}`,
    ...["--cert", authority.path("client.pem"), "--key", authority.path("client.key")],
  );
  assert.match(facts, /^127\.0\.0\.5 127\.0\.0\.1 site\.example TLSv1\.3 client$/);
  const line = await sluice.logged((entry) => entry["proxy:ssl_cn"] === "client", "the request with a certificate");
  assert.deepEqual(
    [line.client, line.peer, line["proxy:peer"], line["proxy:version"]],
    ["127.0.0.5", "127.0.0.5", "127.0.0.1", "2"],
  );
  const { out } = await run("curl", ["-sS", "-m", "10", "--haproxy-protocol", `http://127.0.0.1:${web}/`]);
  assert.equal(JSON.parse(out).facts, "127.0.0.1 127.0.0.1");
  const direct = await curl("/", { port: tls!, ca: authority.path("ca.pem") });
  assert.equal(JSON.parse(direct.out).facts, "127.0.0.1", "optional: without a header");
  assert.equal((await ask({ port: tls!, ca: authority.read("ca.pem") })).status, 200);
});

const GET = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
const V2 = Buffer.from("\r\n\r\n\0\r\nQUIT\n", "latin1");

function binary(command: number, family: number, ...parts: Uint8Array[]): Buffer {
  const rest = Buffer.concat(parts);
  return Buffer.concat([V2, Buffer.from([command, family, rest.length >> 8, rest.length & 255]), rest]);
}
const IPV4 = Buffer.from([198, 51, 100, 7, 10, 0, 0, 1, 0x30, 0x39, 0x01, 0xbb]);

testInEachMode("headers in any fragments, of each kind; what is no header closes the connection", async (t) => {
  const sluice = await startBoth(
    t,
    "deny: [198.51.100.99, 127.0.0.9]\n    limits: { connectionRatePerClient: 1000/s }",
  );
  const send = async (bytes: Uint8Array | string, localAddress = "127.0.0.1"): Promise<string> => {
    // A connection can be reset before this side knows that it is established.
    const client = await connectTo(t, sluice.port, { localAddress }).catch(() => null);
    if (client === null) return "reset";
    client.send(bytes);
    const text = (await client.rest()).toString("latin1");
    return text === "" ? await client.closed : (/"facts":"(.*?)"/.exec(text)?.[1]?.trim() ?? text.slice(9, 12));
  };
  const line = "PROXY TCP6 2001:DB8::7 2001:db8::1 12345 443\r\n";
  const crc = binary(0x21, 0x11, IPV4, Buffer.from([3, 0, 4, 0, 0, 0, 0]));
  crc.writeUInt32BE(crc32c(crc, 0, crc.length), crc.length - 4);
  const of = (...parts: (string | Uint8Array)[]): Buffer =>
    Buffer.concat(parts.map((part) => Buffer.from(part as string, "latin1")));
  for (const [header, client] of [
    [of(line), "2001:db8::7 127.0.0.1"],
    [of("PROXY UNKNOWN\r\n"), "unknown 127.0.0.1"],
    [binary(0x21, 0x11, IPV4), "198.51.100.7 127.0.0.1"],
    [crc, "198.51.100.7 127.0.0.1"],
    [binary(0x20, 0, Buffer.from("ignored")), "127.0.0.1 127.0.0.1"],
    [binary(0x21, 0x31, Buffer.alloc(216)), "unknown 127.0.0.1"],
  ] as const) {
    const whole = of(header, GET);
    assert.equal(await send(whole), client);
    for (const cut of new Set([1, 5, 6, 12, 15, 16, header.length - 1, header.length, header.length + 3])) {
      const peer = await connectTo(t, sluice.port);
      await peer.sendChunks([whole.subarray(0, cut), whole.subarray(cut)]);
      assert.match((await peer.rest()).toString(), new RegExp(`"facts":"${client}"`), `cut at ${cut}`);
    }
    const peer = await connectTo(t, sluice.port);
    await peer.sendChunks(Array.from(whole, (byte) => Buffer.from([byte])));
    assert.match((await peer.rest()).toString(), new RegExp(`"facts":"${client}"`), "byte by byte");
  }
  const invalid = [
    GET,
    "PROXY TCP4 198.51.100.7 10.0.0.1 1 65536\r\n",
    `PROXY UNKNOWN ${"f".repeat(200)}\r\n`,
    binary(0x21, 0x41, IPV4),
    binary(0x21, 0x11, Buffer.alloc(20_000)),
    Buffer.from("\x16\x03\x01\x00\x05hello", "latin1"),
  ];
  for (const bytes of invalid) assert.equal(await send(bytes), "reset", JSON.stringify(bytes));
  crc[17]! ^= 1;
  assert.equal(await send(of(crc, GET)), "reset", "a wrong checksum");
  await sluice.metricIs(invalid.length + 1, "sluice_proxy_protocol_headers_total", {
    result: "invalid",
    listener: "web",
  });
  const logged = await sluice.logged(({ event }) => event === "proxy_protocol", "an invalid header");
  assert.deepEqual([logged.listener, logged.peer, logged.result], ["web", "127.0.0.1", "invalid"]);

  assert.equal(await send(of("PROXY TCP4 198.51.100.66 10.0.0.1 1 2\r\n", GET)), "reset", "denied by the plugin");
  assert.equal(await send(of("PROXY TCP4 198.51.100.99 10.0.0.1 1 2\r\n", GET)), "reset", "denied by the list");
  assert.equal(await send(GET, "127.0.0.9"), "reset", "a peer in the list, before a byte is read");
  await sluice.metricIs(2, "sluice_connections_refused_total", { limit: "deny" });
  assert.equal(await send(of(line, GET), "127.0.0.2"), "400", "a header of another peer is no request");
  assert.equal(await send(GET, "127.0.0.2"), "127.0.0.2", "other peers need none");

  const silent = await connectTo(t, sluice.port);
  await silent.send("PROXY TCP4 1.2.3").closed;
  await sluice.metricIs(1, "sluice_proxy_protocol_headers_total", { result: "timeout" });
  (await connectTo(t, sluice.port)).end();
  await sluice.metricIs(1, "sluice_proxy_protocol_headers_total", { result: "aborted" });
});
