/** A response before the end of the request reaches the client; Expect: 100-continue is supported. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { after } from "node:test";
import { setTimeout } from "node:timers/promises";
import { TLSSocket } from "node:tls";
import { Authority } from "../support/certificates.ts";
import { connectTo, type Peer, startRawUpstream } from "./peers.ts";
import {
  atEnd,
  type LiveTest,
  type Ports,
  type Program,
  reuseSluice,
  simpleConfig,
  testInEachMode,
} from "./program.ts";

const authority = new Authority();
authority.issue("site");
after(() => authority.remove());

const MiB = 1024 * 1024;
const early = "HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nX-From: upstream\r\n\r\nbig";

/** Sends a request with a body of that size, as fast as the connection takes it. */
function upload(client: Peer, size: number): void {
  client.send(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${size}\r\n\r\n`);
  const chunk = Buffer.alloc(64 * 1024, "x");
  let left = size;
  const more = (): void => {
    while (left > 0) {
      left -= chunk.length;
      if (!client.socket.write(chunk)) return;
    }
  };
  client.socket.on("drain", more);
  more();
}

for (const framing of ["length", "chunked"] as const) {
  testInEachMode(
    `early-response-reaches-the-client: the upstream rejects a body (${framing}) that is still being sent`,
    async (t) => {
      const answered = Promise.withResolvers<void>();
      const upstream = await startRawUpstream(t, async (peer) => {
        await peer.head();
        peer.socket.pause();
        peer.socket.write(early, () => answered.resolve());
      });
      const sluice = await reuseSluice(t, simpleConfig(upstream.port));
      const client = await connectTo(t, sluice.port);
      const chunked = framing === "chunked";
      client.socket.pause();
      client.send(
        `POST / HTTP/1.1\r\nHost: a\r\n${chunked ? "Transfer-Encoding: chunked" : `Content-Length: ${64 * MiB}`}\r\n\r\n`,
      );
      await answered.promise;
      // It keeps sending and does not read yet, as many clients do. A reset would discard the response.
      const chunk = chunked ? `8000\r\n${"x".repeat(0x8000)}\r\n` : "x".repeat(0x8000);
      for (let sent = 0; sent < MiB / 2; sent += 0x8000) {
        client.send(chunk);
        await setTimeout(5);
      }
      client.socket.resume();
      const response = await client.readResponse();
      assert.deepEqual(
        [response.status, response.headers["x-from"], response.body.toString()],
        [413, "upstream", "big"],
      );
      assert.equal(response.headers.connection, "close");
      await client.waits(() => client.ended, "the end");
    },
  );
}

/** Uploads that the endpoint rejects, one after the other: each client gets the response. */
async function uploadAll(t: LiveTest, sluice: Program): Promise<void> {
  for (let turn = 0; turn < 12; turn++) {
    const client = await connectTo(t, sluice.port);
    upload(client, 4 * MiB);
    const response = await client.readResponse();
    assert.deepEqual(
      [response.status, response.headers["x-from"], response.body.toString()],
      [413, "upstream", "big"],
      `turn ${turn}`,
    );
    client.socket.destroy();
  }
}

testInEachMode(
  "early-response-reaches-the-client: the upstream rejects a body, and closes before it has read it",
  async (t) => {
    const closings: ((peer: Peer) => void)[] = [
      (peer) => peer.socket.destroy(), // with input unread: its system sends a reset
      (peer) => peer.reset(),
      (peer) => peer.end(),
    ];
    const upstream = await startRawUpstream(t, async (peer, index) => {
      await peer.head();
      peer.socket.pause();
      peer.socket.write(early, () => closings[index % closings.length]!(peer));
    });
    const sluice = await reuseSluice(t, simpleConfig(upstream.port));
    await uploadAll(t, sluice);
  },
);

testInEachMode(
  "early-response-reaches-the-client: an endpoint with TLS rejects a body, and closes before it has read it",
  async (t) => {
    const closings: ((socket: TLSSocket, raw: Socket) => unknown)[] = [
      (socket) => socket.end(),
      (socket) => socket.destroy(),
      (_, raw) => raw.resetAndDestroy(),
    ];
    let accepted = 0;
    const options = { cert: authority.read("site.pem"), key: authority.read("site.key"), isServer: true };
    const server = createServer((raw) => {
      const close = closings[accepted++ % closings.length]!;
      const socket = new TLSSocket(raw, options);
      for (const one of [raw, socket]) one.on("error", () => undefined);
      let head = "";
      socket.on("data", (data: Buffer) => {
        head += data.toString("latin1");
        if (!head.includes("\r\n\r\n")) return;
        socket.removeAllListeners("data").pause();
        raw.pause();
        socket.write(early, () => close(socket, raw));
      });
    });
    atEnd(t, () => server.close());
    await once(server.listen(0, "127.0.0.1"), "listening");
    const { port } = server.address() as AddressInfo;
    const config = ({ web }: Ports) => `
listeners: { web: { address: "127.0.0.1:${web}", cluster: app } }
clusters: { app: { endpoints: ["127.0.0.1:${port}"], tls: { verify: false } } }
`;
    const sluice = await reuseSluice(t, config);
    await uploadAll(t, sluice);
  },
);

testInEachMode("expect-continue: the upstream's 100 is forwarded, and then the body", async (t) => {
  const bodies: string[] = [];
  const upstream = await startRawUpstream(t, async (peer) => {
    assert.match(await peer.head(), /\r\nexpect: 100-continue\r\n/i);
    peer.send("HTTP/1.1 100 Continue\r\n\r\n");
    bodies.push(await peer.take("hello"));
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
  });
  const sluice = await reuseSluice(t, simpleConfig(upstream.port));
  const client = await connectTo(t, sluice.port);
  client.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
  assert.equal((await client.readResponse()).status, 100);
  assert.equal((await client.send("hello").readResponse()).body.toString(), "ok");
  assert.deepEqual(bodies, ["hello"]);
});

testInEachMode("expect-continue: a rejection instead of the 100 ends the connection", async (t) => {
  const upstream = await startRawUpstream(t, async (peer) => {
    await peer.head();
    peer.send(early);
  });
  const sluice = await reuseSluice(t, simpleConfig(upstream.port));
  const client = await connectTo(t, sluice.port);
  client.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
  const response = await client.readResponse();
  assert.deepEqual([response.status, response.headers.connection], [413, "close"]);
  await client.waits(() => client.ended, "the end");
});

testInEachMode("expect-continue: local responses are sent at once", async (t) => {
  const upstream = await startRawUpstream(t);
  const sluice = await reuseSluice(t, simpleConfig(upstream.port, { listener: "limits: { body: 4 }" }));
  const client = await connectTo(t, sluice.port);
  client.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
  assert.equal((await client.readResponse()).status, 413);
  assert.equal(upstream.peers.length, 0);
});
