/** Requests that two parsers could interpret differently, and malicious clients, over real connections. */
import assert from "node:assert/strict";
import { connect } from "node:net";
import type { TestContext } from "node:test";
import { connectTo, exchange, startUpstream, type Upstream } from "../e2e/peers.ts";
import { atEnd, type Program, reuseSluice, simpleConfig, startSluice, testInAllModes, until } from "../e2e/program.ts";
import { smuggling } from "../fixtures/smuggling.ts";

const get = "GET /good HTTP/1.1\r\nHost: a\r\n\r\n";
/** The request that an attacker tries to smuggle: it must never be parsed as a request. */
const canary = "GET /canary HTTP/1.1\r\nHost: a\r\nX-Canary: 1\r\n\r\n";

async function assertServes(t: TestContext, sluice: Program): Promise<void> {
  assert.equal((await exchange(t, sluice.port, get)).status, 200);
}

function assertNoCanary(upstream: Upstream): void {
  for (const { url, headers } of upstream.requests) {
    assert.doesNotMatch(url, /canary|hidden/);
    assert.equal(headers["x-canary"], undefined);
  }
}

const PREFACE = "PRI * HTTP/2.0\r\n";
/** The frame with which a server of HTTP/2 begins. */
const SETTINGS = /^\0..\x04\0{5}/s;

testInAllModes("every known form of smuggling is rejected, and nothing after it is a request", async (t) => {
  const upstream = await startUpstream(t);
  const sluice = await reuseSluice(t, simpleConfig(upstream.port));
  for (const { name, raw, expect } of smuggling.filter((one) => one.direction === "request" && one.expect !== 200)) {
    await t.test(name, async (t) => {
      const client = await connectTo(t, sluice.port);
      if (raw.startsWith(PREFACE)) {
        // It selects HTTP/2, whose frames the rest is not.
        assert.match((await client.send(raw + canary).rest()).toString("latin1"), SETTINGS);
        assertNoCanary(upstream);
        return assertServes(t, sluice);
      }
      const response = await client.send(raw + canary).readResponse();
      assert.equal(response.status, expect);
      assert.equal(response.headers.connection, "close");
      assert.match(response.headers["proxy-status"] ?? "", /^sluice; error=/);
      assert.equal((await client.rest()).length, 0, "nothing may follow");
      assertNoCanary(upstream);
      await assertServes(t, sluice);
    });
  }
});

testInAllModes(
  "unusual but valid requests are accepted, and the next request on the connection is the next one",
  async (t) => {
    const upstream = await startUpstream(t, (request, response) => response.end(request.body));
    const sluice = await reuseSluice(t, simpleConfig(upstream.port));
    for (const { name, raw } of smuggling.filter((one) => one.direction === "request" && one.expect === 200)) {
      await t.test(name, async (t) => {
        const client = await connectTo(t, sluice.port);
        const before = upstream.requests.length;
        assert.equal((await client.send(raw).readResponse()).status, 200);
        assert.equal(upstream.requests.length, before + 1);
        if (!raw.includes("HTTP/1.0")) assert.equal((await client.send(get).readResponse()).status, 200);
      });
    }
  },
);

testInAllModes("a request is parsed the same in chunks of any size", async (t) => {
  const upstream = await startUpstream(t, (request, response) => response.end(request.body));
  const sluice = await reuseSluice(t, simpleConfig(upstream.port));
  const raw =
    "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n6\r\n world\r\n0\r\nX: y\r\n\r\n";
  const client = await connectTo(t, sluice.port);
  for (let size = 1; size < raw.length; size += 3) {
    const chunks = Array.from({ length: Math.ceil(raw.length / size) }, (_, i) => raw.slice(i * size, (i + 1) * size));
    await client.sendChunks(chunks);
    assert.equal((await client.readResponse()).body.toString(), "hello world", `chunks of ${size}`);
  }
});

testInAllModes(
  "slow heads, half requests and silence by the hundred do not keep others from being served",
  async (t) => {
    const upstream = await startUpstream(t);
    const sluice = await startSluice(
      t,
      simpleConfig(upstream.port, { listener: "timeouts: { head: 2s, body: 2s }" }),
      {},
    );
    const slow = await Promise.all(
      Array.from({ length: 300 }, async (_, i) => {
        const client = await connectTo(t, sluice.port);
        if (i % 3 === 0) client.send("GET / HTTP/1.1\r\nX: ");
        if (i % 3 === 1) client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nx");
        return client;
      }),
    );
    const trickle = setInterval(() => {
      for (const [i, client] of slow.entries()) if (i % 3 === 0 && !client.ended) client.send("x");
    }, 100);
    atEnd(t, () => clearInterval(trickle));
    for (let turn = 0; turn < 50; turn++) await assertServes(t, sluice);
    for (const client of slow) {
      await client.waits(() => client.ended, "the end");
      client.socket.destroy();
    }
    await until(
      async () => (await sluice.metric("sluice_connections_active", { listener: "web" })) <= 1,
      "they are gone",
    );
    await assertServes(t, sluice);
  },
);

testInAllModes("requests cut off anywhere leave nothing behind", async (t) => {
  const upstream = await startUpstream(t);
  const sluice = await startSluice(t, simpleConfig(upstream.port));
  const raw = `POST /cut HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n`;
  for (let size = 0; size < raw.length; size++) {
    for (const way of ["end", "reset"] as const) {
      const client = await connectTo(t, sluice.port);
      client.send(raw.slice(0, size));
      await new Promise(setImmediate);
      client[way]();
      client.socket.resume();
      if (way === "end") await client.rest();
    }
  }
  await assertServes(t, sluice);
  await sluice.metricIs(0, "sluice_requests_in_flight");
  assert.equal(upstream.requests.filter(({ url }) => url === "/cut").length, 0);
});

testInAllModes(
  "a TLS hello and random bytes on the HTTP port get 400 or are closed, an HTTP/2 preface gets HTTP/2",
  async (t) => {
    const upstream = await startUpstream(t);
    const sluice = await reuseSluice(t, simpleConfig(upstream.port, { listener: "timeouts: { head: 1s }" }));
    const random = makeRandom(0x5eed);
    const noises = [
      Buffer.from("16030102000100 01fc0303".replace(" ", ""), "hex"),
      Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", "latin1"),
      Buffer.from("\r\n\r\n\r\n"),
      Buffer.from("PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n"),
      Buffer.from("SSH-2.0-OpenSSH_9.2\r\n"),
      ...Array.from({ length: 60 }, () =>
        Buffer.from(Array.from({ length: 1 + (random() % 3000) }, () => random() & 255)),
      ),
      ...Array.from({ length: 60 }, () => mutate(Buffer.from(get + canary, "latin1"), random)),
    ];
    await Promise.all(
      noises.map(async (noise) => {
        const client = await connectTo(t, sluice.port);
        client.send(noise).end();
        const text = (await client.rest()).toString("latin1");
        const isHttp2 = noise.toString("latin1").startsWith(PREFACE);
        if (text !== "") assert.match(text, isHttp2 ? SETTINGS : /^HTTP\/1\.1 [2345]\d\d /);
      }),
    );
    await assertServes(t, sluice);
  },
);

testInAllModes("a flood of connections that reset at once", async (t) => {
  const upstream = await startUpstream(t);
  const sluice = await startSluice(t, simpleConfig(upstream.port));
  for (let round = 0; round < 10; round++)
    await Promise.all(
      Array.from({ length: 100 }, async () => {
        const socket = connect({ host: "127.0.0.1", port: sluice.port });
        socket.on("error", () => socket.destroy());
        await new Promise((resolve) => socket.on("connect", resolve));
        socket.write(get.slice(0, round * 3));
        socket.resetAndDestroy();
      }),
    );
  await assertServes(t, sluice);
  await until(async () => (await sluice.metric("sluice_connections_active")) <= 1, "they are gone");
});

/** The same numbers in every run. */
function makeRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
}

function mutate(bytes: Buffer, random: () => number): Buffer {
  for (let i = 0; i < 3; i++) bytes[random() % bytes.length] = random() & 255;
  return bytes;
}
