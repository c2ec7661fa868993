/** Unsolicited responses: none is forwarded as the response to the next request. */
import assert from "node:assert/strict";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { type TestContext, test } from "node:test";
import { setImmediate } from "node:timers/promises";
import { createServer } from "node:tls";
import { pollBatch } from "../../../src/net/poll-batch.ts";
import { UPSTREAM_CELLS } from "../../../src/observe/series.ts";
import { connectTo, Peer, startRawUpstream } from "../../e2e/peers.ts";
import { atEnd, until } from "../../e2e/program.ts";
import { Authority } from "../../support/certificates.ts";
import { CELLS, type Plane, type Settings, startPlane } from "./kit.ts";

const TRIES = 200;

const authority = new Authority();
authority.issue("server");
test.after(() => authority.remove());

const response = (text: string): string => `HTTP/1.1 200 OK\r\nContent-Length: ${text.length}\r\n\r\n${text}`;
const get = (number: number): string => `GET /${number} HTTP/1.1\r\nHost: a\r\n\r\n`;
const post = (number: number): string => `POST /${number} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi`;
const forged = response("forged");

const unsolicited = ({ context }: Plane): number => context.cells[CELLS.durations + UPSTREAM_CELLS.unsolicited]!;

/** An endpoint that responds to each request with its number, and the connection of the last request. */
async function startNumbering(t: TestContext) {
  const last: { peer: Peer | null } = { peer: null };
  const upstream = await startRawUpstream(t, async (peer) => {
    for (;;) {
      const [, number = ""] = /^\w+ \/(\d+) /.exec(await peer.head()) ?? [];
      last.peer = peer;
      peer.send(response(number));
    }
  });
  return { port: upstream.port, last, peers: upstream.peers };
}

function startIn(t: TestContext, mode: string, upstreams: readonly number[], settings: Settings = {}): Plane {
  const before = process.env.SLUICE_ACCEPT;
  process.env.SLUICE_ACCEPT = mode;
  t.after(() => {
    if (before === undefined) delete process.env.SLUICE_ACCEPT;
    else process.env.SLUICE_ACCEPT = before;
  });
  return startPlane(t, upstreams, settings);
}

for (const mode of ["handle", "public"]) {
  test(`bytes received before a request was written on a reused connection are not its response (${mode})`, async (t) => {
    const { port, last } = await startNumbering(t);
    // Suspensions end at once: each try needs a pooled connection.
    let now = 0;
    const plane = startIn(t, mode, [port], { poolClock: () => (now += 3_600_000) });
    const client = await connectTo(t, plane.port);
    assert.equal((await client.send(get(0)).readResponse()).body.toString(), "0");
    for (let number = 1; number <= TRIES; number++) {
      // One poll reports both to the proxy, the request first.
      client.send(get(number));
      last.peer!.send(forged);
      const response = await client.readResponse();
      assert.deepEqual([response.status, response.body.toString()], [200, String(number)]);
    }
    assert.equal(unsolicited(plane), TRIES);
    assert.deepEqual(new Set(plane.warnings), new Set(["an endpoint sent bytes without a request"]));
    assert.ok(plane.warnings.length < TRIES / 2, "lines of the log are limited");
  });

  test(`a request that is not safe to retry then fails, and the next one is served (${mode})`, async (t) => {
    const { port, last } = await startNumbering(t);
    const plane = startIn(t, mode, [port]);
    const client = await connectTo(t, plane.port);
    await client.send(get(0)).readResponse();
    client.send(post(1));
    last.peer!.send(forged);
    const response = await client.readResponse();
    assert.deepEqual(
      [response.status, response.headers["proxy-status"]],
      [502, "sluice; error=http_protocol_error"],
      response.body.toString(),
    );
    assert.equal((await client.send(post(2)).readResponse()).body.toString(), "2");
    assert.equal(unsolicited(plane), 1);
  });

  test(`bytes that an endpoint sends on an idle connection or after a response are discarded (${mode})`, async (t) => {
    const { port, last } = await startNumbering(t);
    const plane = startIn(t, mode, [port]);
    const client = await connectTo(t, plane.port);
    await client.send(get(0)).readResponse();
    last.peer!.send(forged);
    client.send(get(1));
    assert.equal((await client.readResponse()).body.toString(), "1");
    await until(() => unsolicited(plane) === 1, "it is counted");

    const together = await startRawUpstream(t, async (peer) => {
      for (;;) {
        await peer.head();
        peer.send(response("own") + forged);
      }
    });
    const other = startIn(t, mode, [together.port]);
    const next = await connectTo(t, other.port);
    // The second arrives while the first's connection is still closing.
    next.send(get(0) + get(1));
    for (let number = 0; number < 2; number++) assert.equal((await next.readResponse()).body.toString(), "own");
    assert.equal(unsolicited(other), 2);
  });

  test(`for a while after that no connection to the endpoint is reused; a 408 has no such effect (${mode})`, async (t) => {
    const { port, last, peers } = await startNumbering(t);
    let now = 1;
    const plane = startIn(t, mode, [port], { poolClock: () => now });
    const client = await connectTo(t, plane.port);
    const ask = async (number: number): Promise<void> => {
      assert.equal((await client.send(get(number)).readResponse()).body.toString(), String(number));
    };
    for (let number = 0; number < 3; number++) await ask(number);
    assert.equal(peers.length, 1);
    last.peer!.send("HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    await until(() => unsolicited(plane) === 1, "it is counted");
    for (let number = 3; number < 6; number++) await ask(number);
    assert.equal(peers.length, 2);
    last.peer!.send(forged);
    await until(() => unsolicited(plane) === 2, "it is counted");
    for (let number = 6; number < 9; number++) await ask(number);
    assert.equal(peers.length, 5);
    now += 3_600_000;
    for (let number = 9; number < 12; number++) await ask(number);
    assert.equal(peers.length, 6);
  });

  test(`a connection with a response received before the end of the request is not reused (${mode})`, async (t) => {
    const early = { is: false };
    const upstream = await startRawUpstream(t, async (peer) => {
      for (;;) {
        await peer.head();
        if (!early.is) await peer.take("hi");
        else {
          // One poll reports both to the proxy, the rest of the request first.
          client.send("hi");
          early.is = false;
        }
        peer.send(response("done"));
      }
    });
    const plane = startIn(t, mode, [upstream.port]);
    const client = await connectTo(t, plane.port);
    const ask = async (rest: string): Promise<void> => {
      client.send(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n${rest}`);
      assert.equal((await client.readResponse()).body.toString(), "done");
    };
    for (let turn = 0; turn < 3; turn++) await ask("hi");
    assert.equal(upstream.peers.length, 1, "reused after ordinary responses");
    early.is = true;
    await ask("");
    await ask("hi");
    assert.equal(upstream.peers.length, 2);
  });

  test(`an immediate response is not treated as unsolicited (${mode})`, async (t) => {
    const { port } = await startNumbering(t);
    const plane = startIn(t, mode, [port]);
    const clients = await Promise.all(Array.from({ length: 64 }, () => connectTo(t, plane.port)));
    // Pipelines too: their requests are written during the read of the previous response.
    await Promise.all(
      clients.map(async (client, index) => {
        for (let turn = 0; turn < 40; turn++) {
          const first = (index * 40 + turn) * 4;
          const depth = index % 2 === 0 ? 1 : 4;
          let sent = "";
          for (let i = 0; i < depth; i++) sent += get(first + i);
          client.send(sent);
          for (let i = 0; i < depth; i++)
            assert.equal((await client.readResponse()).body.toString(), String(first + i));
        }
      }),
    );
    assert.equal(unsolicited(plane), 0);
    assert.deepEqual(plane.warnings, []);
  });
}

test("bytes received before a request was written are not its response over TLS", async (t) => {
  const last: { peer: Peer | null } = { peer: null };
  const options = { cert: authority.read("server.pem"), key: authority.read("server.key") };
  const server = createServer(options, async (socket) => {
    const peer = new Peer(socket);
    for (;;) {
      const [, number = ""] = /^\w+ \/(\d+) /.exec(await peer.head().catch(() => "")) ?? [];
      if (number === "") return;
      last.peer = peer;
      peer.send(response(number));
    }
  });
  server.on("tlsClientError", () => undefined);
  atEnd(t, () => server.close());
  await once(server.listen(0, "127.0.0.1"), "listening");
  const tls = { key: "unsolicited", verify: false, serverName: "", ca: [], crl: [], certificate: null };
  let now = 0;
  const settings = { cluster: { tls }, poolClock: () => (now += 3_600_000) };
  const plane = startIn(t, "handle", [(server.address() as AddressInfo).port], settings);
  const client = await connectTo(t, plane.port);
  assert.equal((await client.send(get(0)).readResponse()).body.toString(), "0");
  for (let number = 1; number <= 20; number++) {
    client.send(get(number));
    last.peer!.send(forged);
    assert.equal((await client.readResponse()).body.toString(), String(number));
  }
  assert.equal(unsolicited(plane), 20);
});

test("the batch number changes with each poll, and only then", async () => {
  const seen = new Set<number>();
  for (let turn = 0; turn < 100; turn++) {
    const batch = pollBatch();
    await Promise.resolve();
    assert.equal(pollBatch(), batch);
    assert.ok(!seen.has(batch));
    seen.add(batch);
    await setImmediate();
    await setImmediate();
  }
});
