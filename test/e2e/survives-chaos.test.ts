/**
 * Many well- and ill-behaved clients and upstreams during reloads: each well-behaved client
 * gets exactly its own bytes, and nothing leaks. Clients act by a seeded generator, the same in
 * every run.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { TestContext } from "node:test";
import { setImmediate, setTimeout } from "node:timers/promises";
import { findFreePort } from "./free-port.ts";
import { connectTo, type Peer } from "./peers.ts";
import { atEnd, type Program, simpleConfig, startSluice, testInAllModes, times } from "./program.ts";

const CLIENTS = 40;
/**
 * Of each client. With 30, each of the ten ways is taken some 120 times, during reloads; SLUICE_TEST_ROUNDS=600 is
 * a long run.
 */
const REQUESTS = Number(process.env.SLUICE_TEST_ROUNDS ?? 30);

/** Behaviours of an upstream; those that begin with "bad" get no complete response. */
const ways = [
  "length",
  "chunked",
  "close",
  "slow",
  "early",
  "hints",
  "empty",
  "trailers",
  "bad-before",
  "bad-inside",
] as const;
type Way = (typeof ways)[number];

testInAllModes("survives-chaos", async (t) => {
  const config = (number: number) =>
    simpleConfig([...ports, refusing], {
      listener: `chain: [{ headers: { response: { set: { x-version: "${number}" } } } }]`,
      route: "retry: { attempts: 2, on: [connect, 502] }",
    });
  const refusing = await findFreePort();
  const ports = [await startMoody(t), await startMoody(t)];
  const sluice = await startSluice(t, config(0), { workers: t.accept === "handle" ? 2 : 1 });
  let done = false;
  const reloads = (async () => {
    for (let number = 1; !done; number++) {
      sluice.config(config(number)(sluice.ports));
      assert.equal((await sluice.reload()).status, 200);
      await setTimeout(100);
    }
  })();
  const clients = Array.from({ length: CLIENTS }, (_, id) => new Client(t, sluice, id).run(times(t, REQUESTS)));
  // Each wait of a client has a bound; all of them together take as long as the machine is busy.
  await Promise.all(clients).finally(() => {
    done = true;
  });
  await reloads;
  await sluice.metricIs(0, "sluice_requests_in_flight");
  await sluice.metricIs(0, "sluice_connections_active");
  await sluice.metricIs(0, "sluice_internal_errors_total");
  const [cluster] = JSON.parse((await sluice.ask("/api/v1/clusters")).text);
  for (const { inFlight } of cluster.endpoints) assert.equal(inFlight, 0);
});

/** The same numbers in every run. */
function makeRandom(seed: number): (below: number) => number {
  let state = seed * 0x9e3779b1 + 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

/** Bytes that identify the request and the position. */
function makePattern(id: string, size: number): Buffer {
  const word = `[${id}:`;
  let text = "";
  while (text.length < size) text += `${word}${text.length}]`;
  return Buffer.from(text.slice(0, size), "latin1");
}

// ── The upstream ────────────────────────────────────────────────────────────────────────────────────────────────────

async function startMoody(t: TestContext): Promise<number> {
  const server = createServer((request, response) => {
    serve(request, response).catch(() => response.destroy());
  });
  server.on("clientError", (error: NodeJS.ErrnoException, socket) => {
    // Malformed requests would be the proxy's fault.
    if (error.code?.startsWith("HPE") && error.code !== "HPE_INVALID_EOF_STATE") malformed = `${error.message}`;
    socket.destroy();
  });
  let malformed = "";
  await once(server.listen(0, "127.0.0.1"), "listening");
  atEnd(t, () => {
    server.close().closeAllConnections();
    assert.equal(malformed, "");
  });
  return (server.address() as AddressInfo).port;
}

/** The path has the instructions: `/id/way/size of the request's body/size of the response's`. */
async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const [, id = "", way = "", taken, given] = request.url!.split("/");
  const body = makePattern(`${id}<`, Number(given));
  if (way === "early") return void response.writeHead(200, { "content-length": body.length }).end(body);
  const got = Buffer.concat(await request.toArray());
  if (!got.equals(makePattern(`${id}>`, Number(taken))))
    return void response.writeHead(500, { "x-wrong": "body" }).end();
  switch (way as Way) {
    case "bad-before":
      return void request.socket.resetAndDestroy();
    case "bad-inside":
      response.writeHead(200, { "content-length": body.length + 1 });
      return void response.write(body, () => request.socket.destroy());
    case "empty":
      return void response.writeHead(204).end();
    case "hints":
      response.writeEarlyHints({ link: "</a>; rel=preload" });
      // As text: Node puts the head before hints that still wait when the body is a buffer.
      return void response.end(body.toString("latin1"), "latin1");
    case "close":
      response.writeHead(200, { connection: "close" }).write(body.subarray(0, 10));
      return void response.end(body.subarray(10));
    case "trailers":
      if (request.method === "HEAD") return void response.end();
      response.writeHead(200, { trailer: "x-end" });
      response.addTrailers({ "x-end": id });
      return void response.end(body);
    case "slow":
      response.writeHead(200, { "content-length": body.length });
      for (let at = 0; at < body.length; at += 10_000) {
        response.write(body.subarray(at, at + 10_000));
        await setImmediate();
      }
      return void response.end();
    case "chunked":
      for (let at = 0; at < body.length; at += 7001) response.write(body.subarray(at, at + 7001));
      return void response.end();
    default:
      return void response.writeHead(200, { "content-length": body.length }).end(body);
  }
}

// ── The client ──────────────────────────────────────────────────────────────────────────────────────────────────────

type Request = { id: string; way: Way; head: boolean; posts: boolean; given: number; raw: Buffer };

class Client {
  readonly #t: TestContext;
  readonly #sluice: Program;
  readonly #id: number;
  readonly #random: (below: number) => number;
  #count = 0;

  constructor(t: TestContext, sluice: Program, id: number) {
    this.#t = t;
    this.#sluice = sluice;
    this.#id = id;
    this.#random = makeRandom(id + 1);
  }

  async run(requests: number): Promise<void> {
    while (this.#count < requests) {
      const peer = await connectTo(this.#t, this.#sluice.port);
      await this.#converse(peer);
      peer.socket.destroy();
      await peer.closed;
    }
  }

  /** Some requests on one connection, one after the other or all at once, until it ends or is aborted. */
  async #converse(peer: Peer): Promise<void> {
    for (let turn = this.#random(6); turn >= 0; turn--) {
      const requests = Array.from({ length: this.#random(4) === 0 ? 4 : 1 }, () => this.#draw());
      // A reset discards unread bytes, including earlier complete responses.
      if (requests.some(({ way }) => way === "bad-inside")) requests.splice(1);
      this.#count += requests.length;
      const raw = Buffer.concat(requests.map((request) => request.raw));
      if (this.#random(10) === 0) return this.#leave(peer, raw);
      const sending = this.#send(peer, raw);
      for (const request of requests) if (!(await this.#check(peer, request))) return;
      await sending;
    }
  }

  #draw(): Request {
    const random = this.#random;
    const id = `${this.#id}-${this.#count}-${random(1_000_000)}`;
    const way = ways[random(ways.length)]!;
    const size = () => [0, 1, 100, 5000, 70_000, 300_000][random(6)]!;
    const posts = random(2) === 0;
    const head = !posts && random(5) === 0;
    const [taken, given] = [posts ? size() : 0, size()];
    const start = `${posts ? "POST" : head ? "HEAD" : "GET"} /${id}/${way}/${taken}/${given} HTTP/1.1\r\nHost: a\r\n`;
    const body = makePattern(`${id}>`, taken);
    if (!posts) return { id, way, head, posts, given, raw: Buffer.from(`${start}\r\n`) };
    if (random(2) === 0) {
      const raw = Buffer.concat([Buffer.from(`${start}Content-Length: ${taken}\r\n\r\n`), body]);
      return { id, way, head, posts, given, raw };
    }
    const parts: Buffer[] = [Buffer.from(`${start}Transfer-Encoding: chunked\r\n\r\n`)];
    for (let at = 0; at < taken; ) {
      const chunk = body.subarray(at, at + 1 + random(40_000));
      parts.push(Buffer.from(`${chunk.length.toString(16)}\r\n`), chunk, Buffer.from("\r\n"));
      at += chunk.length;
    }
    parts.push(Buffer.from("0\r\n\r\n"));
    return { id, way, head, posts, given, raw: Buffer.concat(parts) };
  }

  /** At once, or in many chunks with arbitrary boundaries. */
  async #send(peer: Peer, raw: Buffer): Promise<void> {
    if (this.#random(2) === 0) return void peer.send(raw);
    for (let at = 0; at < raw.length && !peer.ended; ) {
      const size = 1 + this.#random(this.#random(3) === 0 ? 50 : 60_000);
      peer.send(raw.subarray(at, at + size));
      at += size;
      await setImmediate();
    }
  }

  /** Aborts at a random position, in one of two ways. */
  async #leave(peer: Peer, raw: Buffer): Promise<void> {
    peer.send(raw.subarray(0, this.#random(raw.length + 1)));
    for (let turns = this.#random(20); turns > 0; turns--) await setImmediate();
    if (this.#random(2) === 0) peer.reset();
    else peer.end();
  }

  /** Reads one response and checks it; returns whether the connection stays open. */
  async #check(peer: Peer, request: Request): Promise<boolean> {
    const { id, way, head, posts, given } = request;
    if (this.#random(6) === 0) {
      peer.socket.pause();
      await setTimeout(this.#random(30));
      peer.socket.resume();
    }
    if (!(await peer.waits(() => peer.bytes.includes("\r\n\r\n"), `a response to ${way} ${id}`))) {
      assert.ok(way === "bad-inside" || posts, `no response to ${way} ${id}`);
      return false;
    }
    const response = await peer.readResponse(head);
    if (response.status === 103) return this.#check(peer, request);
    assert.equal(response.headers["x-wrong"], undefined, `the upstream got a wrong body for ${id}`);
    if (response.status === 502) {
      assert.ok(way.startsWith("bad") || way === "early" || posts, `502 for ${way} ${id}`);
      return response.headers.connection !== "close";
    }
    assert.equal(response.status, way === "empty" ? 204 : 200, `${way} ${id}: ${response.head}`);
    if (way === "empty") return true;
    const expected = makePattern(`${id}<`, head ? 0 : given);
    const { body } = response;
    if (!body.equals(expected.subarray(0, body.length)))
      assert.fail(`the response to ${way} ${id}: ${compare(expected, body)}`);
    if (way === "bad-inside" && !head) {
      assert.equal(response.whole, false);
      return false;
    }
    if (!response.whole && way === "early") return false;
    assert.ok(
      response.whole && response.body.length === expected.length,
      `${way} ${id} is not whole: ${response.body.length} of ${expected.length}, whole ${response.whole}, ${response.head}`,
    );
    if (way === "trailers" && !head) assert.equal(response.trailers.toLowerCase(), `x-end: ${id}\r\n`);
    return response.headers.connection !== "close";
  }
}

function compare(expected: Buffer, body: Buffer): string {
  let i = 0;
  while (i < body.length && body[i] === expected[i]) i++;
  return `${body.length} of ${expected.length} bytes, from ${i} on "${body.toString("latin1", i, i + 60)}" for "${expected.toString("latin1", i, i + 60)}"`;
}
