/** gRPC through each proxy: messages of bidirectional streams, and the check of unary calls. */
import { connect } from "node:http2";
import { Http2Client, requestOf, startGrpcEcho } from "./http2-peer.ts";
import type { Options } from "./options.ts";
import { haproxyHttp2Both } from "./peers/haproxy.ts";
import { nginxGrpc } from "./peers/nginx.ts";
import { sluiceHttp2Upstream } from "./peers/sluice.ts";
import { type Relay, runRelay, type Work } from "./relay.ts";
import type { Site } from "./site.ts";
import type { Subject } from "./subject.ts";

/** A path whose calls `startGrpcEcho` responds to: every. */
export const GRPC_PATH = "/bench.Echo/Talk";
export const GRPC_HEADERS = [
  ["content-type", "application/grpc"],
  ["te", "trailers"],
] as const;

/** Streams on each of 8 connections, and bytes of a message. */
const CONNECTIONS = 8;
const CASES = [
  [4, 100],
  [32, 100],
  [4, 10_000],
] as const;

const MESSAGES: Relay = {
  peers: [sluiceHttp2Upstream, nginxGrpc, haproxyHttp2Both],
  works: CASES.map(
    ([streams, size]): Work => ({
      name: `${size.toLocaleString("en")} bytes, ${CONNECTIONS} × ${streams} streams`,
      begin: async (port, done) => talk(port, streams, messageOf(size), done),
    }),
  ),
  head: ["message", "µs a message and its echo"],
  startEcho: startGrpcEcho,
};

export function runGrpcMessages(shared: Site, options: Options): Promise<string> {
  return runRelay(shared, options, MESSAGES);
}

/** A message with its prefix: not compressed, and its length. */
export function messageOf(size: number): Buffer {
  const message = Buffer.alloc(5 + size, 7);
  message[0] = 0;
  message.writeUInt32BE(size, 1);
  return message;
}

/** Every stream sends its next message when it has the last one back. */
function talk(port: number, streams: number, message: Buffer, done: () => void): () => void {
  const request = requestOf("POST", GRPC_PATH, GRPC_HEADERS);
  const clients = Array.from({ length: CONNECTIONS }, () => new Http2Client({ port }));
  for (const client of clients)
    for (let begun = 0; begun < streams; begun++) {
      let got = 0;
      const stream = client.request(request, {
        data: (_, __, start, end) => {
          got += end - start;
          if (got < message.length) return;
          got = 0;
          done();
          client.send(stream, message);
        },
      });
      client.send(stream, message);
    }
  return () => {
    for (const { socket } of clients) socket.destroy();
  };
}

/** @throws if a unary call does not get its message back, with the status 0 in the trailers. */
export async function checkGrpc({ name, port }: Subject): Promise<void> {
  const session = connect(`http://127.0.0.1:${port}`);
  try {
    const sent = messageOf(30);
    const stream = session.request({ ":method": "POST", ":path": GRPC_PATH, ...Object.fromEntries(GRPC_HEADERS) });
    let status: unknown;
    stream.on("trailers", (trailers) => {
      status = trailers["grpc-status"];
    });
    stream.end(sent);
    const chunks: Buffer[] = [];
    for await (const chunk of stream) chunks.push(chunk as Buffer);
    if (!Buffer.concat(chunks).equals(sent) || String(status) !== "0")
      throw new Error(
        `${name}: the response of a gRPC call has ${Buffer.concat(chunks).length} bytes, status ${status}`,
      );
  } finally {
    session.destroy();
  }
}
