/** abort-frees-the-upstream, truncated-response-is-visible: an abort on one side is visible on the other. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import type { Socket } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after } from "node:test";
import { connect as connectTls, type TLSSocket } from "node:tls";
import { promisify } from "node:util";
import { Authority } from "../support/certificates.ts";
import { connectTo, startRawUpstream, startUpstream } from "./peers.ts";
import { atEnd, bounded, type Ports, reuseSluice, simpleConfig, startSluice, testInAllModes } from "./program.ts";

const authority = new Authority();
authority.issue("site");
after(() => authority.remove());

const get = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n";

testInAllModes("abort-frees-the-upstream: a client that disconnects before the response", async (t) => {
  const upstream = await startRawUpstream(t);
  const sluice = await startSluice(t, simpleConfig(upstream.port, { rest: "log: { access: true }" }));
  const leave = { reset: "reset", end: "end" } as const;
  let index = 0;
  for (const way of [leave.reset, leave.end]) {
    const client = await connectTo(t, sluice.port);
    client.send(get);
    const peer = await upstream.connection(index++);
    await peer.head();
    client[way]();
    await bounded(peer.closed, "the upstream connection's end");
  }
  const gone = () => sluice.accessLines.filter((line) => line.status === 499).length;
  await sluice.logged(() => gone() === 2, "two lines with 499");
  await sluice.metricIs(2, "sluice_requests_total", { status: "499" });
  await sluice.metricIs(0, "sluice_requests_in_flight");
});

testInAllModes(
  "a client with halfClose gets its response after its FIN, also when that is sent during the response",
  async (t) => {
    const upstream = await startRawUpstream(t);
    const certificate = `{ cert: ${authority.path("site.pem")}, key: ${authority.path("site.key")} }`;
    const config = ({ web, secure }: Ports) => `
listeners:
  web: { address: "127.0.0.1:${web}", halfClose: true, cluster: app }
  secure: { address: "127.0.0.1:${secure}", halfClose: true, cluster: app, tls: { certificates: [${certificate}] } }
clusters: { app: ["127.0.0.1:${upstream.port}"] }
`;
    const sluice = await startSluice(t, config, { workers: 1, ports: ["secure"] });
    const client = await connectTo(t, sluice.port);
    client.end(get);
    const peer = await upstream.connection(0);
    await peer.head();
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    const response = await client.readResponse();
    assert.deepEqual([response.status, response.body.toString()], [200, "ok"]);

    const late = await connectTo(t, sluice.port);
    late.send(get);
    await peer.head();
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nha");
    await late.take("ha");
    late.end();
    await peer.sendChunks(["l", "f"]);
    assert.equal(await late.take("lf"), "lf");

    const where = { port: sluice.ports.secure!, host: "127.0.0.1", allowHalfOpen: true, rejectUnauthorized: false };
    const secured = connectTls(where).end(get);
    atEnd(t, () => secured.destroy());
    await peer.head();
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    const chunks = await bounded(secured.toArray(), "the end");
    assert.match(chunks.join(""), /^HTTP\/1.1 200 .*\r\n\r\nok$/s);
  },
);

testInAllModes(
  "abort-frees-the-upstream: a client that disconnects during the response, or during its request",
  async (t) => {
    const upstream = await startRawUpstream(t);
    const certificate = `{ cert: ${authority.path("site.pem")}, key: ${authority.path("site.key")} }`;
    const config = ({ web, secure }: Ports) => `log: { access: true }
listeners:
  web: { address: "127.0.0.1:${web}", cluster: app }
  secure: { address: "127.0.0.1:${secure}", cluster: app, tls: { certificates: [${certificate}] } }
clusters: { app: ["127.0.0.1:${upstream.port}"] }
`;
    const sluice = await startSluice(t, config, { ports: ["secure"] });
    let index = 0;
    for (const way of ["reset", "end"] as const)
      for (const rest of [
        "Content-Length: 1000\r\n\r\nabc",
        "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        "\r\nabc",
      ]) {
        const reader = await connectTo(t, sluice.port);
        reader.send(get);
        const peer = await upstream.connection(index++);
        await peer.head();
        peer.send(`HTTP/1.1 200 OK\r\n${rest}`);
        // The endpoint is silent from here on: no failing write shows that the client has disconnected.
        await reader.waits(() => reader.text.includes("abc"), "the part of the body");
        reader[way]();
        await bounded(peer.closed, "the upstream connection's end");
      }
    const gone = () =>
      sluice.accessLines.filter((line) => line.status === 200 && line.outcome === "client_gone").length;
    await sluice.logged(() => gone() === index, "the lines of partial responses");

    const writer = await connectTo(t, sluice.port);
    writer.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nabc");
    const second = await upstream.connection(index);
    await second.take("abc");
    writer.end();
    await bounded(second.closed, "the upstream connection's end");

    // The same over TLS, with its closing alert and without.
    for (const begins of [false, true])
      for (const leave of [(client: TLSSocket) => client.end(), (_: TLSSocket, raw: Socket) => raw.end()]) {
        const raw = (await connectTo(t, sluice.ports.secure!)).socket.removeAllListeners("data");
        const client = connectTls({ socket: raw, rejectUnauthorized: false });
        client.on("error", () => undefined).write(get);
        const peer = await upstream.connection(++index);
        await peer.head();
        if (begins) {
          peer.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nabc");
          await bounded(once(client, "data"), "the part of the body");
        }
        leave(client, raw);
        await bounded(peer.closed, "the upstream connection's end");
        raw.destroy();
      }
    await sluice.metricIs(0, "sluice_requests_in_flight");
  },
);

const broken = [
  ["with a length", "Content-Length: 1000\r\n\r\nabc"],
  ["chunked", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"],
  ["inside a chunk", "Transfer-Encoding: chunked\r\n\r\n10\r\nabc"],
] as const;

testInAllModes("truncated-response-is-visible: with any framing, after the upstream's end or reset", async (t) => {
  const cases = broken.flatMap(([, rest]) => (["end", "reset"] as const).map((how) => ({ rest, how })));
  const upstream = await startRawUpstream(t, async (peer, index) => {
    await peer.head();
    peer.send(`HTTP/1.1 200 OK\r\n${cases[index]!.rest}`);
  });
  const sluice = await reuseSluice(t, simpleConfig(upstream.port));
  for (const [index, { rest, how }] of cases.entries()) {
    const client = await connectTo(t, sluice.port);
    client.send(get);
    await client.waits(() => client.text.includes("abc"), "the part of the body");
    upstream.peers[index]![how]();
    const response = await client.readResponse();
    assert.equal(response.whole, false, `${rest} ${how}`);
    assert.equal(await bounded(client.closed, "the client connection's end"), "reset", `${rest} ${how}`);
  }
});

testInAllModes("truncated-response-is-visible: curl reports it, for close-delimited responses too", async (t) => {
  const rests = [...broken.map(([, rest]) => rest), "\r\nabc"];
  const upstream = await startRawUpstream(t, async (peer) => {
    const path = /GET \/(\d)/.exec(await peer.head())![1]!;
    peer.send(`HTTP/1.1 200 OK\r\n${rests[Number(path)]}`);
    // An orderly end for three of them; it would complete a close-delimited body, so that one is reset.
    if (path !== "3") peer.end();
    else setImmediate(() => peer.reset());
  });
  const sluice = await reuseSluice(t, simpleConfig(upstream.port));
  for (const [i] of rests.entries()) {
    const { code } = (await promisify(execFile)("curl", ["-sS", "-o", "/dev/null", `${sluice.url}/${i}`]).catch(
      (error: unknown) => error,
    )) as { code?: number };
    assert.ok(
      code === 18 || code === 56 || code === 52 || (i === 3 && code === 22),
      `curl ended with ${code} for ${rests[i]}`,
    );
  }
});

testInAllModes("a complete response stays complete for a client that reads it late", async (t) => {
  const size = 8 * 1024 * 1024;
  const upstream = await startUpstream(t, (_, response) => response.end(Buffer.alloc(size, "x")));
  const sluice = await reuseSluice(t, simpleConfig(upstream.port));
  const client = await connectTo(t, sluice.port);
  client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  await client.waits(() => client.received > 0, "the first bytes");
  client.socket.pause();
  // Longer than the time for which a connection lingers after its last response.
  await new Promise((resolve) => setTimeout(resolve, 3000));
  client.socket.resume();
  const response = await client.readResponse();
  assert.equal(response.whole, true);
  assert.equal(response.body.length, size);
});

testInAllModes("a truncated response is visible to a client of a Unix socket too", async (t) => {
  const upstream = await startRawUpstream(t, async (peer) => {
    await peer.head();
    await peer.sendChunks(["HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"]);
    peer.reset();
  });
  const path = join(mkdtempSync(join(tmpdir(), "sluice-socket-")), "web");
  const config = simpleConfig(upstream.port);
  const sluice = await startSluice(t, (ports) => config(ports).replace(`127.0.0.1:${ports.web}`, `unix:${path}`), {});
  const client = await connectTo(t, path);
  const response = await client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").readResponse();
  assert.deepEqual([response.status, response.whole], [200, false]);
  await sluice.metricIs(0, "sluice_requests_in_flight");
  rmSync(dirname(path), { recursive: true });
});
