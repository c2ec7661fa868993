/** Flow control of streams and connections, by a model of the peer: over any events, and with real frames. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Head } from "../../../../src/http/head.ts";
import { DEFAULT_WINDOW, FRAME, FRAME_FLAG, readUint32, SETTING } from "../../../../src/http2/frames.ts";
import { HpackEncoder } from "../../../../src/http2/hpack-encoder.ts";
import { type Block, Buffers } from "../../../../src/net/buffers.ts";
import { Clock } from "../../../../src/net/clock.ts";
import { FrameBudget } from "../../../../src/protocol/http2/frame-budget.ts";
import { FrameDispatch, type FrameOwner } from "../../../../src/protocol/http2/frame-dispatch.ts";
import { FrameWriter } from "../../../../src/protocol/http2/frame-writer.ts";
import { HeaderBlock } from "../../../../src/protocol/http2/header-block.ts";
import { ReceiveStream } from "../../../../src/protocol/http2/receive-stream.ts";
import { ReceiveWindow } from "../../../../src/protocol/http2/receive-window.ts";
import { SendScheduler } from "../../../../src/protocol/http2/send-scheduler.ts";
import { SendStream } from "../../../../src/protocol/http2/send-stream.ts";
import type { AcceptedConnection } from "../../../../src/proxy/port.ts";
import { framesOf, setting, uint32 } from "../../../support/http2-frames.ts";

class CountingBuffers extends Buffers {
  taken = 0;
  override take() {
    this.taken++;
    return super.take();
  }
  override free(block: Block): void {
    this.taken--;
    super.free(block);
  }
}

/** A connection whose frames are read as soon as they are flushed. */
class Wire {
  readonly buffers = new CountingBuffers();
  readonly connection = {
    alive: true,
    unsent: 0,
    isBackedUp: false,
    guard: (run: () => void) => run(),
    send: (out: Buffer, size: number) => this.#received(out, size),
    sendBlock: (block: Block, size: number) => {
      this.#received(block.bytes, size);
      this.buffers.free(block);
      return true;
    },
  };
  readonly writer = new FrameWriter(
    this.connection as unknown as AcceptedConnection,
    { delayed: () => {} },
    this.buffers,
  );
  #bytes: Buffer[] = [];

  #received(out: Buffer, size: number): boolean {
    this.#bytes.push(Buffer.from(out.subarray(0, size)));
    return true;
  }

  frames() {
    this.writer.flush();
    const bytes = Buffer.concat(this.#bytes);
    this.#bytes = [];
    return framesOf(bytes);
  }
}

// ── What we send ──────────────────────────────────────────────────────────────────────────────────────────────────────

/** A stream: what its source has given, and what its peer has received. */
class Sent {
  readonly id: number;
  readonly output: SendStream;
  /** What the peer allows. */
  window: number;
  readonly given: Buffer[] = [];
  readonly received: Buffer[] = [];
  /** The source may give more. */
  more = true;
  isEnding = false;
  hasTrailers = false;
  ended = 0;
  isReset = false;

  constructor(sender: Sender, id: number, window: number) {
    this.id = id;
    this.window = window;
    const owner = { progressed: () => {}, drained: () => void (this.more = true) };
    this.output = new SendStream(sender, owner, id, window);
  }
}

class Sender {
  readonly wire = new Wire();
  readonly buffers = this.wire.buffers;
  readonly scheduler: SendScheduler;
  readonly streams: Sent[] = [];
  window = DEFAULT_WINDOW;
  initialWindow = DEFAULT_WINDOW;
  readonly #dispatch: FrameDispatch<SendStream>;

  constructor() {
    const { writer, connection } = this.wire;
    const clock = new Clock();
    const budget = new FrameBudget({ burst: 1_000_000, perSecond: 100 }, clock.now);
    this.scheduler = new SendScheduler(connection as unknown as AcceptedConnection, writer, budget, clock);
    const owner: Partial<FrameOwner<SendStream>> = {
      isUnopened: () => false,
      settingsReceived: () => true,
      streamFault: () => assert.fail("a fault"),
      fail: (_code, problem) => assert.fail(problem),
    };
    this.#dispatch = new FrameDispatch(owner as FrameOwner<SendStream>, {
      clock,
      writer,
      scheduler: this.scheduler,
      budget,
      encoder: new HpackEncoder(),
      block: new HeaderBlock(),
      maxPush: 1,
      leastIncrement: 0,
      checksDependency: true,
    });
    this.receive(FRAME.settings, 0, Buffer.alloc(0));
  }

  receive(type: number, stream: number, payload: Buffer): void {
    assert.ok(this.#dispatch.frame(type, 0, stream, payload, 0, payload.length));
  }

  /** The next one is opened when this stream's window changes. */
  openNextWith(stream: Sent): void {
    const { output } = stream;
    const changed = output.openWindow.bind(output);
    output.openWindow = (change) => {
      this.open();
      return changed(change);
    };
  }

  open(): void {
    const stream = new Sent(this, 2 * this.streams.length + 1, this.initialWindow);
    assert.equal(this.#dispatch.initialWindow, this.initialWindow);
    this.streams.push(stream);
    this.#dispatch.streams.set(stream.id, stream.output);
  }

  writeTrailers(id: number): void {
    const at = this.wire.writer.beginHeaders(1);
    this.wire.writer.endHeaders(id, at, true);
  }

  setInitialWindow(size: number): void {
    for (const stream of this.streams) if (!stream.isReset) stream.window += size - this.initialWindow;
    this.initialWindow = size;
    this.receive(FRAME.settings, 0, setting(SETTING.initialWindowSize, size));
  }

  give(stream: Sent, size: number, ends: boolean, trailers: boolean): void {
    if (stream.isReset || stream.isEnding || !stream.more) return;
    const bytes = Buffer.alloc(size, stream.given.length + stream.id);
    stream.given.push(Buffer.from(bytes));
    stream.isEnding = ends;
    stream.hasTrailers = ends && trailers;
    stream.more = stream.output.send(bytes, 0, size, ends, stream.hasTrailers ? new Head() : null);
    assert.equal(stream.more, stream.output.unsent === 0);
    // As of a read buffer that is used again.
    bytes.fill(0);
    // Nothing follows the end.
    if (ends) stream.output.send(Buffer.from("more"), 0, 4, false, null);
  }

  reset(stream: Sent): void {
    if (stream.ended > 0) return;
    stream.isReset = true;
    stream.output.close();
    this.#dispatch.streams.delete(stream.id);
  }

  /** The peer reads the frames, each within the windows that it has given. */
  check(): void {
    for (const { type, flags, stream: id, payload } of this.wire.frames()) {
      if (type === FRAME.settings) continue;
      const stream = this.streams[(id - 1) / 2]!;
      assert.equal(stream.ended, 0, "a frame after the end");
      if ((flags & FRAME_FLAG.endStream) !== 0) stream.ended++;
      assert.equal(type, stream.hasTrailers && stream.ended > 0 ? FRAME.headers : FRAME.data);
      stream.received.push(payload);
      stream.window -= payload.length;
      this.window -= payload.length;
      if (payload.length > 0) assert.ok(stream.window >= 0 && this.window >= 0, "beyond a window");
    }
    if (this.window <= 0 || this.wire.connection.isBackedUp) return;
    for (const { output, window } of this.streams)
      assert.ok(output.unsent === 0 || window <= 0, "buffered without a reason");
  }
}

const nth = fc.nat(9);
const size = fc.oneof(fc.constantFrom(0, 1, 16_384, 65_535), fc.nat(70_000));
const sending = fc.array(
  fc.oneof(
    fc.record({ op: fc.constant("open" as const) }),
    fc.record({ op: fc.constant("give" as const), nth, size, ends: fc.boolean(), trailers: fc.boolean() }),
    fc.record({ op: fc.constant("credit" as const), nth, size: fc.integer({ min: 1, max: 70_000 }) }),
    fc.record({
      op: fc.constant("give" as const),
      nth,
      size: fc.constant(65_535),
      ends: fc.constant(false),
      trailers: fc.constant(false),
    }),
    fc.record({ op: fc.constant("connection" as const), size: fc.integer({ min: 1, max: 70_000 }) }),
    fc.record({ op: fc.constant("initial" as const), size }),
    fc.record({ op: fc.constant("backedUp" as const), is: fc.boolean() }),
    fc.record({ op: fc.constant("priority" as const), nth, priority: fc.nat(15) }),
    fc.record({ op: fc.constant("reset" as const), nth }),
  ),
  { minLength: 10, maxLength: 60 },
);

test("what is sent stays within the windows, and all of it is sent in the end, in order, with the end once", () => {
  fc.assert(
    fc.property(sending, (events) => {
      const sender = new Sender();
      const { streams, wire } = sender;
      for (let i = 0; i < 3; i++) sender.open();
      for (const event of events) {
        const stream = "nth" in event ? streams[event.nth % streams.length] : undefined;
        if (event.op === "open") sender.open();
        else if (event.op === "connection") {
          sender.window += event.size;
          sender.receive(FRAME.windowUpdate, 0, uint32(event.size));
        } else if (event.op === "initial") sender.setInitialWindow(event.size);
        else if (event.op === "backedUp") {
          wire.connection.isBackedUp = event.is;
          sender.scheduler.resume();
        } else if (stream !== undefined) {
          if (event.op === "give") sender.give(stream, event.size, event.ends, event.trailers);
          else if (event.op === "priority") stream.output.reprioritize(event.priority);
          else if (event.op === "reset") sender.reset(stream);
          else if (!stream.isReset) {
            stream.window += event.size;
            sender.receive(FRAME.windowUpdate, stream.id, uint32(event.size));
          }
        }
        sender.check();
      }
      // The socket takes all, and the peer allows all.
      wire.connection.isBackedUp = false;
      sender.window += 2 ** 30;
      sender.receive(FRAME.windowUpdate, 0, uint32(2 ** 30));
      sender.setInitialWindow(2 ** 30);
      sender.check();
      for (const { received, given, isEnding, ended, isReset, more, output } of streams) {
        if (isReset) continue;
        assert.ok(Buffer.concat(received).equals(Buffer.concat(given)));
        assert.deepEqual([ended, output.hasSentEnd, more, output.unsent], [isEnding ? 1 : 0, isEnding, true, 0]);
      }
      assert.equal(sender.buffers.taken, 0, "no block is held");
    }),
    { numRuns: 200 },
  );
});

test("a stream that is opened while SETTINGS change the windows of others has the new one once", () => {
  const sender = new Sender();
  sender.open();
  sender.openNextWith(sender.streams[0]!);
  sender.setInitialWindow(100_000);
  assert.deepEqual(
    sender.streams.map(({ output }) => output.window),
    [100_000, 100_000],
  );
});

// ── What we receive ───────────────────────────────────────────────────────────────────────────────────────────────────

const STREAM_WINDOW = 65_536;
const CONNECTION_WINDOW = 150_000;

/** A stream of a peer that sends as much as it may. */
class Received {
  readonly input: ReceiveStream;
  /** What we have allowed. */
  window = STREAM_WINDOW;
  unconsumed = 0;
  isOpen = true;

  constructor(receiver: Receiver, id: number) {
    this.input = new ReceiveStream(receiver, id, STREAM_WINDOW);
  }
}

class Receiver {
  readonly wire = new Wire();
  readonly writer = this.wire.writer;
  readonly streams: Received[] = [];
  window = CONNECTION_WINDOW;
  readonly #window = new ReceiveWindow(CONNECTION_WINDOW);

  constructor() {
    this.streams = [1, 3, 5].map((id) => new Received(this, id));
  }

  credit(size: number): void {
    this.writer.windowUpdate(0, this.#window.credit(size));
  }

  /** DATA of up to `size` bytes, as the windows allow, with padding. Bytes are consumed at once unless it pauses. */
  data(stream: Received, size: number, padding: number, ends: boolean): void {
    if (!stream.isOpen || stream.input.hasEnded) return;
    const length = Math.min(size + padding, stream.window, this.window);
    const content = Math.max(0, length - padding);
    stream.window -= length;
    this.window -= length;
    assert.ok(this.#window.take(length) && stream.input.take(length));
    if (length > content && ends) this.credit(length - content);
    else if (length > content) stream.input.grant(length - content);
    stream.input.hasEnded = ends;
    stream.input.withhold(content);
    stream.unconsumed += content;
    if (!stream.input.isPaused) this.consume(stream);
  }

  consume(stream: Received): void {
    stream.unconsumed = 0;
    stream.input.release();
  }

  check(): void {
    for (const { type, stream: id, payload } of this.wire.frames()) {
      assert.equal(type, FRAME.windowUpdate);
      const increment = readUint32(payload, 0);
      assert.ok(increment > 0);
      if (id === 0) this.window += increment;
      else {
        const stream = this.streams[(id - 1) / 2]!;
        assert.ok(stream.isOpen && !stream.input.hasEnded, "credit for a stream that has ended");
        stream.window += increment;
      }
    }
    let unconsumed = 0;
    for (const stream of this.streams) {
      unconsumed += stream.unconsumed;
      if (stream.isOpen && !stream.input.hasEnded) this.#checkWindow(stream.input, stream.window, stream.unconsumed);
    }
    this.#checkWindow(this.#window, this.window, unconsumed, CONNECTION_WINDOW);
  }

  /** Credit is neither lost nor invented: what is missing was not consumed, or is less than half of the window. */
  #checkWindow(window: ReceiveWindow, allowed: number, unconsumed: number, most = STREAM_WINDOW): void {
    assert.equal(window.left, allowed);
    assert.ok(allowed + unconsumed <= most && allowed + unconsumed > most / 2, `${allowed} + ${unconsumed}`);
  }
}

const receiving = fc.array(
  fc.oneof(
    fc.record({ op: fc.constant("data" as const), nth, size, padding: fc.nat(256), ends: fc.nat(9) }),
    fc.record({ op: fc.constant("pause" as const), nth, is: fc.boolean() }),
    fc.record({ op: fc.constant("close" as const), nth, is: fc.nat(9) }),
  ),
  { maxLength: 80 },
);

test("credit for what is received is neither lost nor granted twice, and a peer is never stuck", () => {
  fc.assert(
    fc.property(receiving, (events) => {
      const receiver = new Receiver();
      for (const event of events) {
        const stream = receiver.streams[event.nth % 3]!;
        if (event.op === "data") receiver.data(stream, event.size, event.padding, event.ends === 0);
        else if (event.op === "pause") {
          if (!event.is) stream.unconsumed = 0;
          stream.input.pause(event.is);
        } else if (event.is === 0) {
          stream.isOpen = false;
          stream.unconsumed = 0;
          stream.input.close();
        }
        receiver.check();
      }
      for (const stream of receiver.streams) receiver.consume(stream);
      receiver.check();
      assert.ok(receiver.window > CONNECTION_WINDOW / 2);
    }),
    {
      numRuns: 200,
      // The padding of the last frame completes half of a window.
      examples: [
        [
          [
            { op: "data", nth: 2, size: 32_561, padding: 71, ends: 1 },
            { op: "data", nth: 2, size: 0, padding: 136, ends: 0 },
          ],
        ],
      ],
    },
  );
});

test("data beyond a window is noticed by one byte", () => {
  const receiver = new Receiver();
  const { input } = receiver.streams[0]!;
  assert.ok(input.take(STREAM_WINDOW));
  assert.ok(!input.take(1));
});
