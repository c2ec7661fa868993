/** Clients and upstreams of the program under test: raw sockets with scripted bytes, and HTTP servers. */
import { once } from "node:events";
import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from "node:http";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import type { TestContext } from "node:test";
import { setImmediate } from "node:timers/promises";
import { atEnd, bounded } from "./program.ts";

export type Bytes = string | Uint8Array;
/** How a connection ended: by FIN or by a reset. */
export type Ending = "end" | "reset";

/** A response as received. `whole`: complete according to its framing. */
export type RawResponse = {
  status: number;
  /** Names in lower case; several values are joined by a comma. */
  headers: Record<string, string>;
  head: string;
  body: Buffer;
  trailers: string;
  whole: boolean;
};

/** One end of a raw connection. */
export class Peer {
  readonly socket: Socket;
  /** Received bytes that were not read yet, in chunks as received: joined when they are read. */
  #chunks: Buffer[] = [];
  /** Their size in bytes. */
  #size = 0;
  /** Total number of received bytes. */
  received = 0;
  /** The other side ended its direction (or the connection is gone). */
  ended = false;
  /** How the connection ended, once it has. */
  readonly closed: Promise<Ending>;
  #waiting: (() => void)[] = [];

  constructor(socket: Socket) {
    this.socket = socket;
    socket.setNoDelay(true);
    let ending: Ending = "end";
    socket.on("data", (data: Buffer) => {
      this.received += data.length;
      this.#chunks.push(data);
      this.#size += data.length;
      this.#wake();
    });
    socket.on("end", () => {
      this.ended = true;
      this.#wake();
    });
    socket.on("error", () => {
      ending = "reset";
    });
    this.closed = new Promise((resolve) => {
      socket.on("close", () => {
        this.ended = true;
        resolve(ending);
        this.#wake();
      });
    });
  }

  #wake(): void {
    for (const wake of this.#waiting.splice(0)) wake();
  }

  /** Received bytes that were not taken yet. */
  get bytes(): Buffer {
    if (this.#chunks.length !== 1) this.#chunks = [Buffer.concat(this.#chunks)];
    return this.#chunks[0]!;
  }

  send(bytes: Bytes): this {
    if (!this.socket.destroyed) this.socket.write(typeof bytes === "string" ? Buffer.from(bytes, "latin1") : bytes);
    return this;
  }

  /** Sends chunk by chunk, each in a separate packet where the kernel allows it. */
  async sendChunks(chunks: Iterable<Bytes>): Promise<this> {
    for (const chunk of chunks) {
      this.send(chunk);
      await setImmediate();
    }
    return this;
  }

  /** Ends this side's direction. */
  end(bytes?: Bytes): this {
    if (bytes !== undefined) this.send(bytes);
    this.socket.end();
    return this;
  }

  reset(): void {
    this.socket.resetAndDestroy();
  }

  /** Waits until `is` holds or the other side has ended; returns whether it holds. */
  async waits(is: () => boolean, what: string): Promise<boolean> {
    const isMet = async (): Promise<boolean> => {
      while (!is()) {
        if (this.ended) return false;
        await new Promise<void>((resolve) => this.#waiting.push(resolve));
      }
      return true;
    };
    return bounded(
      isMet(),
      () =>
        `${what}; received so far: ${this.received} bytes, of them unread ${JSON.stringify(this.text.slice(0, 500))}`,
    );
  }

  get text(): string {
    return this.bytes.toString("latin1");
  }

  /** Takes everything up to and with `mark`; fails when the other side ends before. */
  async take(mark: string): Promise<string> {
    if (!(await this.waits(() => this.bytes.includes(mark, 0, "latin1"), JSON.stringify(mark))))
      throw new Error(`the connection ended before ${JSON.stringify(mark)}: ${JSON.stringify(this.text)}`);
    return this.#shift(this.bytes.indexOf(mark, 0, "latin1") + mark.length).toString("latin1");
  }

  #shift(size: number): Buffer {
    const taken = this.bytes.subarray(0, size);
    this.#chunks = [this.bytes.subarray(size)];
    this.#size -= taken.length;
    return taken;
  }

  /** Takes a message head: start line and headers. */
  head(): Promise<string> {
    return this.take("\r\n\r\n");
  }

  /** Everything until the other side ends. */
  async rest(): Promise<Buffer> {
    await this.waits(() => this.ended, "the end");
    return this.#shift(this.bytes.length);
  }

  /** Reads one response; `toHead`: to a HEAD request. Interim responses are returned as separate ones. */
  async readResponse(toHead = false): Promise<RawResponse> {
    const head = await this.head();
    const status = Number(head.slice(9, 12));
    const headers = parseFields(head);
    const response: RawResponse = { status, headers, head, body: Buffer.alloc(0), trailers: "", whole: true };
    if (toHead || status < 200 || status === 204 || status === 304) return response;
    const length = headers["content-length"];
    if (headers["transfer-encoding"] !== undefined) return this.#readChunks(response);
    if (length !== undefined) {
      response.whole = await this.waits(() => this.#size >= Number(length), `${length} bytes of body`);
      response.body = this.#shift(Math.min(this.bytes.length, Number(length)));
    } else {
      response.body = await this.rest();
      response.whole = (await bounded(this.closed, "the connection's end")) === "end";
    }
    return response;
  }

  async #readChunks(response: RawResponse): Promise<RawResponse> {
    const parts: Buffer[] = [];
    const line = async (): Promise<string | null> => {
      if (!(await this.waits(() => this.bytes.includes("\r\n"), "a line"))) return null;
      return this.take("\r\n");
    };
    response.whole = false;
    for (;;) {
      const size = Number.parseInt((await line()) ?? "", 16);
      if (Number.isNaN(size)) break;
      if (size === 0) {
        for (let trailer = await line(); trailer !== null; trailer = await line()) {
          if (trailer === "\r\n") {
            response.whole = true;
            break;
          }
          response.trailers += trailer;
        }
        break;
      }
      const isComplete = await this.waits(() => this.#size >= size + 2, `a chunk of ${size}`);
      parts.push(this.#shift(Math.min(size, this.bytes.length)));
      if (!isComplete) break;
      this.#shift(2);
    }
    response.body = Buffer.concat(parts);
    return response;
  }
}

function parseFields(head: string): Record<string, string> {
  const fields: Record<string, string> = {};
  for (const line of head.split("\r\n").slice(1, -2)) {
    const colon = line.indexOf(":");
    const name = line.slice(0, colon).toLowerCase();
    const value = line.slice(colon + 1).trim();
    fields[name] = name in fields ? `${fields[name]}, ${value}` : value;
  }
  return fields;
}

/** A raw client of a port, or of a Unix socket's path; gone with the test. */
export async function connectTo(
  t: TestContext,
  port: number | string,
  options: { pauseOnConnect?: boolean; localAddress?: string } = {},
): Promise<Peer> {
  const socket = connect(
    typeof port === "string" ? { path: port } : { host: "127.0.0.1", port, localAddress: options.localAddress },
  );
  const peer = new Peer(socket);
  if (options.pauseOnConnect) socket.pause();
  atEnd(t, () => socket.destroy());
  const connected = once(socket, "connect").catch((error: NodeJS.ErrnoException) => {
    // A server may accept and reset a connection before its client sees that it is connected: the peer is closed.
    if (error.code !== "ECONNRESET") throw error;
  });
  await bounded(connected, `a connection to port ${port}`);
  return peer;
}

/** Sends one request on a new connection and reads its response. */
export async function exchange(t: TestContext, port: number, request: Bytes): Promise<RawResponse> {
  const peer = await connectTo(t, port);
  const response = await peer.send(request).readResponse();
  peer.socket.destroy();
  return response;
}

export type RawUpstream = {
  port: number;
  /** Connections so far, in order. */
  peers: Peer[];
  /** Waits for connection number `index`. */
  connection(index: number): Promise<Peer>;
};

/** An upstream with scripted bytes; `serve` runs for each connection. */
export async function startRawUpstream(
  t: TestContext,
  serve: (peer: Peer, index: number) => void | Promise<void> = () => {},
): Promise<RawUpstream> {
  const peers: Peer[] = [];
  let arrived: (() => void)[] = [];
  const server = createServer((socket) => {
    const peer = new Peer(socket);
    peers.push(peer);
    // A script may still wait for bytes when its connection ends: its error does not matter then.
    void Promise.resolve(serve(peer, peers.length - 1)).catch((error: unknown) => {
      if (!socket.destroyed && !peer.ended) socket.destroy(error as Error);
    });
    for (const wake of arrived) wake();
    arrived = [];
  });
  atEnd(t, () => {
    server.close();
    for (const peer of peers) peer.socket.destroy();
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  const connection = async (index: number): Promise<Peer> => {
    while (peers.length <= index)
      await bounded(new Promise<void>((resolve) => arrived.push(resolve)), `connection ${index}`);
    return peers[index]!;
  };
  return { port: (server.address() as AddressInfo).port, peers, connection };
}

/** A complete request as an upstream received it. */
export type Recorded = {
  method: string;
  url: string;
  headers: Record<string, string>;
  rawHeaders: string[];
  body: Buffer;
  trailers: Record<string, string>;
};

export type Upstream = { port: number; requests: Recorded[]; connections: number };

/** An upstream of `node:http` that records requests, and responds by `respond` (by default 200 and "ok"). */
export async function startUpstream(
  t: TestContext,
  respond: (request: Recorded, response: ServerResponse) => void = (_, response) => response.end("ok"),
): Promise<Upstream> {
  const upstream: Upstream = { port: 0, requests: [], connections: 0 };
  const server = createHttpServer({ keepAliveTimeout: 60_000 }, (request, response) => {
    void record(request).then(
      (recorded) => {
        upstream.requests.push(recorded);
        respond(recorded, response);
      },
      () => response.destroy(),
    );
  });
  server.on("connection", () => upstream.connections++);
  atEnd(t, () => {
    server.close();
    server.closeAllConnections();
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  upstream.port = (server.address() as AddressInfo).port;
  return upstream;
}

async function record(request: IncomingMessage): Promise<Recorded> {
  const body = Buffer.concat(await request.toArray());
  const { method = "", url = "", headers, rawHeaders, trailers } = request;
  const flat = Object.entries(headers).map(([name, value]) => [name, String(value)]);
  return {
    method,
    url,
    headers: Object.fromEntries(flat),
    rawHeaders,
    body,
    trailers: trailers as Record<string, string>,
  };
}
