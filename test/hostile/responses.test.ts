/** Hostile upstreams lose their connection, and never affect another client's response. */
import assert from "node:assert/strict";
import { connectTo, exchange, type Peer, startRawUpstream } from "../e2e/peers.ts";
import { bounded, reuseSluice, simpleConfig, testInEachMode } from "../e2e/program.ts";
import { smuggling } from "../fixtures/smuggling.ts";

const get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const good = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nX-Good: 1\r\n\r\ngood";
/** The bytes that an attacker wants the next client to receive as its response. */
const poison = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nX-Poison: 1\r\n\r\npoison";

testInEachMode(
  "every ambiguous response is rejected, its connection closed, and the next response correct",
  async (t) => {
    let lie: string | null = null;
    const upstream = await startRawUpstream(t, async (peer) => {
      for (;;) {
        await peer.head();
        const said = lie;
        lie = null;
        peer.send(said === null ? good : said + poison);
      }
    });
    const sluice = await reuseSluice(t, simpleConfig(upstream.port));
    for (const { name, raw, expect, part } of smuggling.filter((one) => one.direction === "response")) {
      await t.test(name, async (t) => {
        lie = raw;
        const client = await connectTo(t, sluice.port);
        const response = await client.send(get).readResponse();
        const connection = upstream.peers.at(-1)!;
        if (expect === 200)
          assert.deepEqual([response.status, response.whole, response.body.toString()], [200, true, "hello"]);
        else if (part === "body" && response.status === 200) assert.equal(response.whole, false);
        else
          assert.deepEqual(
            [response.status, response.headers["proxy-status"]],
            [502, "sluice; error=http_protocol_error"],
          );
        assert.equal(response.headers["x-poison"], undefined);
        await bounded(connection.closed, "the lying connection's end");
        for (let turn = 0; turn < 2; turn++) {
          const next = await exchange(t, sluice.port, get);
          assert.deepEqual([next.status, next.headers["x-good"], next.body.toString()], [200, "1", "good"]);
        }
      });
    }
  },
);

const lies: [name: string, said: string, status: number | "broken"][] = [
  ["more than its length", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokmore", 200],
  ["a second response", `${good}${poison}`, 200],
  ["a body after 204", `HTTP/1.1 204 No Content\r\n\r\n${poison}`, 204],
  ["a body after 304", `HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n${poison}`, 304],
  ["nothing but 1xx", "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(2500), 502],
  ["fields over 64 KiB", `HTTP/1.1 200 OK\r\n${`X: ${"y".repeat(1000)}\r\n`.repeat(70)}Content-Length: 0\r\n\r\n`, 502],
  ["101 without being asked", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", 502],
  ["a head without an end", `HTTP/1.1 200 OK\r\nX: ${"x".repeat(200_000)}`, 502],
  ["fields without an end", `HTTP/1.1 200 OK\r\n${"X: y\r\n".repeat(2000)}`, 502],
  ["noise", "\0\x01\x02\xff\r\n\r\n", 502],
  ["a TLS alert", "\x15\x03\x01\x00\x02\x02\x28", 502],
];

testInEachMode("other invalid responses", async (t) => {
  let lie: string | null = null;
  const upstream = await startRawUpstream(t, async (peer: Peer) => {
    for (;;) {
      await peer.head();
      const said = lie;
      lie = null;
      peer.send(said ?? good);
    }
  });
  const sluice = await reuseSluice(t, simpleConfig(upstream.port));
  for (const [name, said, status] of lies) {
    await t.test(name, async (t) => {
      lie = said;
      const client = await connectTo(t, sluice.port);
      client.send(get);
      let response = await client.readResponse();
      while (response.status < 200) response = await client.readResponse();
      assert.equal(response.status, status);
      assert.equal(response.headers["x-poison"], undefined);
      await bounded(upstream.peers.at(-1)!.closed, "the lying connection's end");
      const next = await client.send(get).readResponse();
      assert.deepEqual([next.status, next.body.toString()], [200, "good"]);
    });
  }
});

testInEachMode("unusual responses are repaired, and the size of a head is the cluster's setting", async (t) => {
  let said = good;
  const upstream = await startRawUpstream(t, async (peer) => {
    for (;;) {
      await peer.head();
      peer.send(said);
    }
  });
  const sluice = await reuseSluice(
    t,
    simpleConfig(upstream.port, { cluster: "limits: { head: 200KiB, headers: 600 }" }),
  );
  const client = await connectTo(t, sluice.port);

  said = `HTTP/1.1 200 OK\r\nX-Frame-Policy : DENY\r\nX-B\t:\tb\r\nContent-Length: 4\r\n\r\ngood`;
  let response = await client.send(get).readResponse();
  assert.deepEqual([response.status, response.body.toString()], [200, "good"]);
  assert.match(response.head, /\r\nX-Frame-Policy: DENY\r\nX-B: b\r\n/);

  said = `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5  \r\nhello\r\n1;a \r\n!\r\n0 \r\nx-sum : 1\r\n\r\n`;
  response = await client.send(get).readResponse();
  assert.deepEqual([response.whole, response.body.toString(), response.trailers], [true, "hello!", "x-sum: 1\r\n"]);

  said = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".repeat(40) + good;
  client.send(get);
  for (let i = 0; i < 40; i++) assert.equal((await client.readResponse()).status, 103);
  assert.equal((await client.readResponse()).body.toString(), "good");

  said = `HTTP/1.1 200 OK\r\n${`X: ${"y".repeat(250)}\r\n`.repeat(550)}Content-Length: 4\r\n\r\ngood`;
  response = await client.send(get).readResponse();
  assert.deepEqual(
    [response.status, response.body.toString(), response.headers.x!.length],
    [200, "good", 550 * 252 - 2],
  );
  assert.equal(upstream.peers.length, 1);

  said = `HTTP/1.1 200 OK\r\nX: ${"y".repeat(201 * 1024)}\r\n\r\n`;
  assert.equal((await client.send(get).readResponse()).status, 502);
  said = `HTTP/1.1 200 OK\r\n${"X: y\r\n".repeat(601)}Content-Length: 0\r\n\r\n`;
  assert.equal((await client.send(get).readResponse()).status, 502);
  said = `HTTP/1.1 103 Early Hints\r\nLink: <${"a".repeat(1000)}>\r\n\r\n`.repeat(210) + good;
  client.send(get);
  do response = await client.readResponse();
  while (response.status === 103);
  assert.equal(response.status, 502, "interim responses over the limit, each below it");
});

testInEachMode("an unsolicited response closes the idle connection that it was received on", async (t) => {
  const upstream = await startRawUpstream(t, async (peer) => {
    for (;;) {
      await peer.head();
      peer.send(good);
    }
  });
  const sluice = await reuseSluice(t, simpleConfig(upstream.port));
  assert.equal((await exchange(t, sluice.port, get)).status, 200);
  upstream.peers[0]!.send(poison);
  await bounded(upstream.peers[0]!.closed, "the connection's end");
  assert.equal((await exchange(t, sluice.port, get)).headers["x-good"], "1");
  assert.equal(upstream.peers.length, 2);
});

testInEachMode("a response to HEAD has no body, also if the upstream sends one", async (t) => {
  const upstream = await startRawUpstream(t, async (peer) => {
    for (;;) {
      await peer.head();
      peer.send(good);
    }
  });
  const sluice = await reuseSluice(t, simpleConfig(upstream.port));
  const client = await connectTo(t, sluice.port);
  for (let turn = 0; turn < 3; turn++) {
    const response = await client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").readResponse(true);
    assert.equal(response.headers["content-length"], "4");
  }
  assert.equal(client.bytes.length, 0);
  const next = await client.send(get).readResponse();
  assert.equal(next.body.toString(), "good");
});
