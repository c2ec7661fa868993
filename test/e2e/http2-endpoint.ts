/** An HTTP/2 endpoint in plain text whose frames the test writes. */
import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import type { TestContext } from "node:test";
import { FRAME, FRAME_FLAG, PREFACE } from "../../src/http2/frames.ts";
import { type Frame, frame, framesOf, SETTINGS } from "../support/http2-frames.ts";
import { atEnd } from "./program.ts";

/** A connection of the proxy. */
export type EndpointConnection = {
  readonly socket: Socket;
  readonly frames: Frame[];
  /** Streams whose request head was received, in order. */
  readonly streams: number[];
};

export type RawEndpoint = { readonly port: number; readonly connections: EndpointConnection[] };

/**
 * Sends `hello` first and acknowledges SETTINGS. `onFrame` is called for each other frame of the proxy. `hello`: of
 * connection `n`, counted from 0.
 */
export async function startHttp2Endpoint(
  t: TestContext,
  onFrame: (connection: EndpointConnection, frame: Frame) => void,
  hello: (n: number) => Uint8Array | null = () => SETTINGS,
): Promise<RawEndpoint> {
  const connections: EndpointConnection[] = [];
  const server = createServer({ noDelay: true }, (socket) => {
    const connection: EndpointConnection = { socket, frames: [], streams: [] };
    const first = hello(connections.length);
    connections.push(connection);
    socket.on("error", () => undefined);
    if (first !== null) socket.write(first);
    let bytes: Buffer = Buffer.alloc(0);
    let read = 0;
    let hasPreface = false;
    socket.on("data", (data: Buffer) => {
      bytes = Buffer.concat([bytes, data]);
      if (!hasPreface && bytes.length >= PREFACE.length) {
        hasPreface = true;
        bytes = bytes.subarray(PREFACE.length);
      }
      if (!hasPreface) return;
      const all = framesOf(bytes);
      for (const one of all) read += 9 + one.payload.length;
      bytes = bytes.subarray(read);
      read = 0;
      for (const one of all) {
        connection.frames.push(one);
        if (one.type === FRAME.headers && !connection.streams.includes(one.stream)) connection.streams.push(one.stream);
        const isSettings = one.type === FRAME.settings && (one.flags & FRAME_FLAG.acknowledge) === 0;
        if (!isSettings) onFrame(connection, one);
        else if (first !== null) socket.write(frame(FRAME.settings, FRAME_FLAG.acknowledge, 0));
      }
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  atEnd(t, () => {
    server.close();
    for (const { socket } of connections) socket.destroy();
  });
  return { port: (server.address() as AddressInfo).port, connections };
}
