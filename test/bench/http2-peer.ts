/** A client and an endpoint of HTTP/2 that cost little: they write and read frames, and interpret no headers. */
import { connect, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import {
  DEFAULT_WINDOW,
  FRAME,
  FRAME_FLAG,
  FRAME_HEAD,
  FrameReader,
  MAX_WINDOW,
  PREFACE,
  SETTING,
  writeFrameHead,
} from "../../src/http2/frames.ts";
import { block, type Field, frame, settings, uint32 } from "../support/http2-frames.ts";
import type { Subject } from "./subject.ts";
import { type Endpoint, startTcpServer } from "./tcp-server.ts";

/** Windows that no run uses up, so that none is ever updated. What is in transit to a proxy is below its windows. */
const OPENING = Buffer.concat([
  settings([SETTING.initialWindowSize, MAX_WINDOW], [SETTING.maxConcurrentStreams, 10_000]),
  frame(FRAME.windowUpdate, 0, 0, uint32(MAX_WINDOW - DEFAULT_WINDOW)),
]);
const ACKNOWLEDGED = frame(FRAME.settings, FRAME_FLAG.acknowledge, 0);
const PING_LENGTH = 8;

type Received = {
  headers(stream: number, isEnd: boolean): void;
  /** DATA or a part of it. */
  data(stream: number, bytes: Buffer, start: number, end: number, isEnd: boolean): void;
  /** GOAWAY or RST_STREAM. */
  stopped?(): void;
};

/** What both sides do: SETTINGS and PING are acknowledged, and what is sent during a read is written at once. */
class Connection {
  readonly #socket: Socket;
  readonly #received: Received;

  /** `skipped`: bytes before the first frame. */
  constructor(socket: Socket, skipped: number, received: Received) {
    let preface = skipped;
    this.#socket = socket;
    this.#received = received;
    const reader = new FrameReader({
      frame: (type, flags, stream, bytes, start, end) => this.#frame(type, flags, stream, bytes.subarray(start, end)),
      data: (flags, stream, bytes, start, end, length) => {
        received.data(stream, bytes, start, end, length >= 0 && (flags & FRAME_FLAG.endStream) !== 0);
        return true;
      },
      fail: (_, problem) => socket.destroy(new Error(problem)),
    });
    socket.on("data", (bytes: Buffer) => {
      const start = Math.min(preface, bytes.length);
      preface -= start;
      socket.cork();
      reader.read(bytes, start, bytes.length);
      socket.uncork();
    });
  }

  #frame(type: number, flags: number, stream: number, payload: Buffer): boolean {
    if (type === FRAME.headers) this.#received.headers(stream, (flags & FRAME_FLAG.endStream) !== 0);
    else if (type === FRAME.goAway || type === FRAME.resetStream) this.#received.stopped?.();
    else if ((flags & FRAME_FLAG.acknowledge) !== 0) return true;
    else if (type === FRAME.settings) this.#socket.write(ACKNOWLEDGED);
    else if (type === FRAME.ping && payload.length === PING_LENGTH)
      this.#socket.write(frame(FRAME.ping, FRAME_FLAG.acknowledge, 0, payload));
    return true;
  }
}

/** A request without its stream. */
export type Request = { readonly block: Buffer; readonly isComplete: boolean };

export function requestOf(method: "GET" | "POST", path: string, more: readonly Field[] = []): Request {
  const target: Field[] = [":method", ":scheme", ":authority", ":path"].map((name, index) => [
    name,
    [method, "http", "bench.example", path][index]!,
  ]);
  return { block: block([...target, ...more]), isComplete: method === "GET" };
}

export class Http2Client {
  readonly socket: Socket;
  readonly #streams = new Map<number, Partial<Received>>();
  #next = 1;

  /** `port`: with `tls`, HTTP/2 is negotiated by ALPN. */
  constructor({ port, tls }: Pick<Subject, "port" | "tls">) {
    const at = { port, host: "127.0.0.1" };
    this.socket = tls
      ? connectTls({ ...at, servername: "localhost", rejectUnauthorized: false, ALPNProtocols: ["h2"] })
      : connect({ ...at, noDelay: true });
    this.socket.on("error", () => this.socket.destroy());
    new Connection(this.socket, 0, {
      headers: (stream, isEnd) => this.#streams.get(stream)?.headers?.(stream, isEnd),
      data: (stream, ...rest) => this.#streams.get(stream)?.data?.(stream, ...rest),
      stopped: () => this.socket.destroy(),
    });
    this.socket.write(Buffer.concat([PREFACE, OPENING]));
  }

  /** Begins a request; returns its stream. */
  request({ block, isComplete }: Request, received: Partial<Received>): number {
    const stream = this.#next;
    this.#next += 2;
    this.#streams.set(stream, received);
    const flags = FRAME_FLAG.endHeaders | (isComplete ? FRAME_FLAG.endStream : 0);
    this.socket.write(frame(FRAME.headers, flags, stream, block));
    return stream;
  }

  /** Sends a message of a request that is not complete. */
  send(stream: number, message: Buffer, isEnd = false): void {
    this.socket.write(frame(FRAME.data, isEnd ? FRAME_FLAG.endStream : 0, stream, message));
  }
}

const RESPONSE = block([
  [":status", "200"],
  ["content-type", "application/grpc"],
]);
const TRAILERS = block([["grpc-status", "0"]]);

/** Sends the messages of each gRPC call back, and ends it after the client. */
export async function startGrpcEcho(): Promise<Endpoint> {
  return startEndpoint((socket) => {
    const begun = new Set<number>();
    return {
      headers: (stream, isEnd) => {
        if (isEnd) socket.write(frame(FRAME.headers, END_STREAM, stream, TRAILERS));
      },
      data: (stream, bytes, start, end, isEnd) => {
        if (!begun.has(stream)) {
          begun.add(stream);
          socket.write(frame(FRAME.headers, FRAME_FLAG.endHeaders, stream, RESPONSE));
        }
        const out = Buffer.allocUnsafe(FRAME_HEAD + end - start);
        writeFrameHead(out, 0, end - start, FRAME.data, 0, stream);
        bytes.copy(out, FRAME_HEAD, start, end);
        socket.write(out);
        if (!isEnd) return;
        begun.delete(stream);
        socket.write(frame(FRAME.headers, END_STREAM, stream, TRAILERS));
      },
    };
  });
}

const END_STREAM = FRAME_FLAG.endStream | FRAME_FLAG.endHeaders;

/** Responds to no request. */
export async function startSilentHttp2(): Promise<Endpoint & { received(count: number): Promise<void> }> {
  const counter = new RequestCounter();
  const endpoint = await startEndpoint(() => ({ headers: () => counter.add(), data: () => {} }));
  return { ...endpoint, received: (count) => counter.received(count) };
}

/** Counts requests, and waits for as many as there are to be. */
export class RequestCounter {
  #count = 0;
  #wanted = Number.POSITIVE_INFINITY;
  #notify = (): void => {};

  add(): void {
    if (++this.#count >= this.#wanted) this.#notify();
  }

  received(count: number): Promise<void> {
    this.#wanted = count;
    return new Promise((resolve) => {
      this.#notify = resolve;
      if (this.#count >= count) resolve();
    });
  }
}

function startEndpoint(accept: (socket: Socket) => Received): Promise<Endpoint> {
  return startTcpServer((socket) => {
    new Connection(socket, PREFACE.length, accept(socket));
    socket.write(OPENING);
  });
}
