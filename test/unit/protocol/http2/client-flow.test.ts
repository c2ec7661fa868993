/**
 * Flow control towards an endpoint: for any order of window updates, settings, padding and aborted requests, no byte
 * exceeds a window in force, none is lost, and no credit is.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate } from "node:timers/promises";
import fc from "fast-check";
import { DEFAULT_WINDOW, FRAME, FRAME_FLAG, readUint32, SETTING } from "../../../../src/http2/frames.ts";
import { type EndpointConnection, startHttp2Endpoint } from "../../../e2e/http2-endpoint.ts";
import { connectTo, type Peer } from "../../../e2e/peers.ts";
import { type Frame, frame, headers, settings, uint32 } from "../../../support/http2-frames.ts";
import { startPlane } from "../../proxy/kit.ts";

/** The window of a connection to an endpoint, for what it sends. */
const CONNECTION_WINDOW = 1 << 20;
const PATTERN = Buffer.alloc(400_000, "0123456789abcdefghijklmnopqrstuvwxyz,");

type Stream = {
  /** Bytes that the proxy may send, and has sent. */
  window: number;
  received: number;
  isEnded: boolean;
  isReset: boolean;
  /** Bytes that the endpoint may send, and has sent of `total`. */
  credit: number;
  sent: number;
  readonly total: number;
};

/** What an endpoint knows of the windows of one connection. */
class Model {
  readonly streams = new Map<number, Stream>();
  /** Of the connection, as of `Stream`. */
  window = DEFAULT_WINDOW;
  credit = DEFAULT_WINDOW;
  #initial = DEFAULT_WINDOW;
  /** Initial windows that were not acknowledged yet. */
  readonly #pending: number[] = [];
  readonly #socket: EndpointConnection["socket"];

  constructor({ socket }: EndpointConnection) {
    this.#socket = socket;
  }

  settle(initial: number): void {
    this.#pending.push(initial);
    this.#socket.write(settings([SETTING.initialWindowSize, initial]));
  }

  acknowledged(): void {
    const initial = this.#pending.shift();
    // Those of the first SETTINGS are empty.
    if (initial === undefined) return;
    for (const stream of this.streams.values()) stream.window += initial - this.#initial;
    this.#initial = initial;
  }

  /** A request; `total`: the length of the response's body. */
  begin({ flags, stream: id }: Frame, total: number): void {
    this.streams.set(id, {
      window: this.#initial,
      received: 0,
      isEnded: (flags & FRAME_FLAG.endStream) !== 0,
      isReset: false,
      credit: DEFAULT_WINDOW,
      sent: 0,
      total,
    });
    const fields = [
      [":status", "200"],
      ["content-length", `${total}`],
    ] as const;
    this.#socket.write(headers(id, fields, FRAME_FLAG.endHeaders));
  }

  frame({ type, flags, stream: id, payload }: Frame): void {
    const stream = this.streams.get(id);
    if (type === FRAME.data) this.#data(stream!, flags, payload);
    else if (type === FRAME.windowUpdate && id === 0) this.credit += readUint32(payload, 0);
    else if (type === FRAME.windowUpdate) stream!.credit += readUint32(payload, 0);
    else if (type === FRAME.resetStream) stream!.isReset = true;
  }

  #data(stream: Stream, flags: number, payload: Buffer): void {
    this.window -= payload.length;
    stream.window -= payload.length;
    assert.ok(payload.length === 0 || (this.window >= 0 && stream.window >= 0), "bytes beyond a window");
    assert.ok(payload.equals(PATTERN.subarray(stream.received, stream.received + payload.length)), "other bytes");
    stream.received += payload.length;
    stream.isEnded = (flags & FRAME_FLAG.endStream) !== 0;
  }

  open(increment: number): void {
    this.window += increment;
    this.#socket.write(frame(FRAME.windowUpdate, 0, 0, uint32(increment)));
  }

  openStream(id: number, stream: Stream, increment: number): void {
    stream.window += increment;
    this.#socket.write(frame(FRAME.windowUpdate, 0, id, uint32(increment)));
  }

  /** Sends at most `size` bytes of a response, and `padding`, as far as both windows allow. */
  respond(id: number, stream: Stream, size: number, padding: number): void {
    const most = Math.min(stream.credit, this.credit, 16_384) - padding - 1;
    // The end of a response would end the request too.
    const left = stream.total - stream.sent - (stream.isEnded ? 0 : 1);
    const length = Math.min(size, left, most);
    if (stream.isReset || length <= 0) return;
    const bytes = PATTERN.subarray(stream.sent, stream.sent + length);
    stream.sent += length;
    const ends = stream.sent === stream.total ? FRAME_FLAG.endStream : 0;
    const payload = Buffer.concat([Buffer.of(padding), bytes, Buffer.alloc(padding)]);
    stream.credit -= payload.length;
    this.credit -= payload.length;
    this.#socket.write(frame(FRAME.data, ends | FRAME_FLAG.padded, id, payload));
  }
}

const size = (max: number) => fc.integer({ min: 0, max });
/** A request's body, its response's, and whether its client leaves before the end. */
const requests = fc.array(fc.tuple(size(120_000), fc.integer({ min: 1, max: 200_000 }), fc.boolean()), {
  minLength: 1,
  maxLength: 5,
});
const step = fc.oneof(
  fc.record({ kind: fc.constant("open" as const), by: fc.integer({ min: 1, max: 40_000 }) }),
  fc.record({ kind: fc.constant("stream" as const), at: size(4), by: fc.integer({ min: 1, max: 40_000 }) }),
  fc.record({ kind: fc.constant("settle" as const), by: size(100_000) }),
  fc.record({
    kind: fc.constant("respond" as const),
    at: size(4),
    by: fc.integer({ min: 1, max: 16_000 }),
    padding: size(255),
  }),
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

const head = (number: number, length: number): string =>
  `POST /${number} HTTP/1.1\r\nHost: a\r\nContent-Length: ${length}\r\n\r\n`;

test("windows are obeyed and returned in any order of events", async (t) => {
  const models = new Map<EndpointConnection, Model>();
  const faults: unknown[] = [];
  let current: Model | null = null;
  let totals: number[] = [];
  let opened = 0;
  const { port } = await startHttp2Endpoint(t, (connection, received) => {
    let model = models.get(connection);
    if (model === undefined) models.set(connection, (model = new Model(connection)));
    try {
      if (received.type === FRAME.settings) return model.acknowledged();
      if (received.type === FRAME.headers) {
        current = model;
        model.begin(received, totals[opened]!);
        opened++;
      } else model.frame(received);
    } catch (error) {
      faults.push(error);
    }
  });
  const timeouts = { connect: 60_000, response: 60_000, idle: 60_000, ping: 60_000, tunnel: 60_000 };
  const pool = { idle: 8, idleFor: 60_000, connections: 0, requests: 0, age: 0 };
  const plane = startPlane(t, [port], { cluster: { protocol: "http2", timeouts, pool } });

  const meets = async (is: () => boolean, what: string): Promise<void> => {
    const late = performance.now() + 15_000;
    for (; !is(); await setImmediate())
      if (faults.length > 0 || performance.now() > late) throw faults[0] ?? new Error(`waited for ${what}`);
  };

  const run = async (bodies: (readonly [number, number, boolean])[], steps: readonly Step[]): Promise<void> => {
    opened = 0;
    totals = bodies.map(([, total]) => total);
    const clients: Peer[] = [];
    const streams: { readonly model: Model; readonly id: number; readonly stream: Stream }[] = [];
    for (const [i, [length]] of bodies.entries()) {
      const client = await connectTo(t, plane.port);
      client.send(head(i, length)).send(PATTERN.subarray(0, length));
      clients.push(client);
      await meets(() => opened > i, "a request");
      const model = current!;
      const [id, stream] = [...model.streams].at(-1)!;
      streams.push({ model, id, stream });
    }
    for (const one of steps) {
      const { model, id, stream } = streams[("at" in one ? one.at : 0) % streams.length]!;
      if (one.kind === "open") model.open(one.by);
      else if (one.kind === "stream") model.openStream(id, stream, one.by);
      else if (one.kind === "settle") model.settle(one.by);
      else model.respond(id, stream, one.by, one.padding);
      await setImmediate();
    }
    for (const [i, [, , leaves]] of bodies.entries()) if (leaves) clients[i]!.reset();
    for (const { model } of streams) model.settle(1 << 20);
    const isDone = ({ stream }: (typeof streams)[number]): boolean =>
      stream.isReset || (stream.isEnded && stream.sent === stream.total);
    await meets(() => {
      for (const { model, id, stream } of streams) {
        // As much padding as half of the content.
        for (let i = 0; i < 8; i++) model.respond(id, stream, 500, 250);
        if (model.window < 10_000) model.open(10_000);
      }
      return streams.every(isDone);
    }, "the ends of all streams");
    for (const [i, [length, total, leaves]] of bodies.entries()) {
      if (leaves) continue;
      assert.equal(streams[i]!.stream.received, length);
      const { status, body } = await clients[i]!.readResponse();
      assert.deepEqual([status, body.equals(PATTERN.subarray(0, total))], [200, true]);
      clients[i]!.reset();
    }
    for (const { model } of streams)
      await meets(() => model.credit > CONNECTION_WINDOW / 2, "the credit of the connection");
    await meets(() => plane.inFlight === 0, "nothing to be in flight");
    assert.deepEqual(faults, []);
  };
  await fc.assert(fc.asyncProperty(requests, fc.array(step, { minLength: 20, maxLength: 60 }), run), {
    numRuns: 30,
    endOnFailure: true,
  });
});
