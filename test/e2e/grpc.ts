/** Clients and servers of gRPC, by `@grpc/grpc-js`. Messages are bytes. */
import { once } from "node:events";
import type { TestContext } from "node:test";
import {
  type ChannelOptions,
  Client,
  credentials,
  Metadata,
  type MethodDefinition,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerReadableStream,
  type ServerUnaryCall,
  type ServerWritableStream,
  type ServiceDefinition,
  type ServiceError,
  type StatusObject,
  type sendUnaryData,
} from "@grpc/grpc-js";
import { atEnd, bounded } from "./program.ts";

const same = (bytes: Buffer): Buffer => bytes;
const LIMITS = { "grpc.max_receive_message_length": -1, "grpc.max_send_message_length": -1 };

/** What a unary request asks for, as JSON: its response, or a status (only of the server on port `on`); `hang`: none. */
export type Ask = { fail?: number; on?: number; pushback?: string; hang?: boolean; delay?: number; data?: string };

export type Service = {
  readonly port: number;
  readonly server: Server;
  /** Unary calls received: their metadata, and a promise of their cancellation. */
  readonly chatsCancelled: readonly true[];
  /** Services whose health was asked for. */
  readonly checked: readonly string[];
  readonly calls: {
    readonly metadata: Metadata;
    readonly deadline: Date | number;
    readonly cancelled: Promise<unknown>;
  }[];
};

function method(name: string, requestStream: boolean, responseStream: boolean): MethodDefinition<Buffer, Buffer> {
  return {
    path: `/test.Echo/${name}`,
    requestStream,
    responseStream,
    requestSerialize: same,
    requestDeserialize: same,
    responseSerialize: same,
    responseDeserialize: same,
  };
}

const echo: ServiceDefinition = {
  Unary: method("Unary", false, false),
  Retried: method("Retried", false, false),
  Slow: method("Slow", false, false),
  Add: { ...method("Add", false, false), path: "/shop.Cart/Add" },
  Check: { ...method("Check", false, false), path: "/grpc.health.v1.Health/Check" },
  Download: method("Download", false, true),
  Upload: method("Upload", true, false),
  Chat: method("Chat", true, true),
};

/** Starts a server of `test.Echo`; `chat`: the path of a further method like `Chat`. */
export async function startService(t: TestContext, chatPath = "/test.Echo/More"): Promise<Service> {
  const server = new Server(LIMITS);
  const calls: Service["calls"] = [];
  const chatsCancelled: true[] = [];
  const checked: string[] = [];
  let bound = 0;
  const unary = (call: ServerUnaryCall<Buffer, Buffer>, respond: sendUnaryData<Buffer>): void => {
    calls.push({ metadata: call.metadata, deadline: call.getDeadline(), cancelled: once(call, "cancelled") });
    const { fail, on = bound, pushback, hang, delay = 0, data }: Ask = JSON.parse(call.request.toString());
    if (hang) return;
    const trailers = new Metadata();
    trailers.set("who-bin", Buffer.from([0, 255]));
    if (pushback !== undefined) trailers.set("grpc-retry-pushback-ms", pushback);
    if (fail !== undefined && on === bound) return respond({ code: fail, details: "as asked: é%", metadata: trailers });
    const headers = new Metadata();
    for (const value of call.metadata.get("echo-bin")) headers.add("echo-bin", value);
    call.sendMetadata(headers);
    const end = (): void => respond(null, Buffer.from(data ?? ""), trailers);
    if (delay === 0) end();
    else setTimeout(end, delay);
  };
  const chat = (call: ServerDuplexStream<Buffer, Buffer>): void => {
    call.on("data", (bytes: Buffer) => call.write(bytes));
    call.on("end", () => call.end());
    call.on("cancelled", () => chatsCancelled.push(true));
  };
  server.addService(
    { ...echo, More: { ...method("More", true, true), path: chatPath } },
    {
      Unary: unary,
      Retried: unary,
      Slow: unary,
      Add: unary,
      /** Health: SERVING. */
      Check: (call: ServerUnaryCall<Buffer, Buffer>, respond: sendUnaryData<Buffer>) => {
        checked.push(call.request.subarray(2).toString());
        respond(null, Buffer.from([8, 1]));
      },
      /** Sends messages of 1 KiB, as many as the request says, and ends; 0: it sends one and waits. */
      Download(call: ServerWritableStream<Buffer, Buffer>) {
        const count = Number(call.request.toString());
        for (let i = 0; i < Math.max(1, count); i++) call.write(Buffer.alloc(1024, i));
        if (count > 0) call.end();
      },
      Upload(call: ServerReadableStream<Buffer, Buffer>, respond: sendUnaryData<Buffer>) {
        let size = 0;
        call.on("data", (bytes: Buffer) => void (size += bytes.length));
        call.on("end", () => respond(null, Buffer.from(String(size))));
      },
      Chat: chat,
      More: chat,
    },
  );
  bound = await new Promise<number>((resolve, reject) =>
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    ),
  );
  atEnd(t, () => server.forceShutdown());
  return { port: bound, server, calls, chatsCancelled, checked };
}

export function openClient(t: TestContext, port: number, options: ChannelOptions = {}): Client {
  const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure(), {
    ...LIMITS,
    "grpc.enable_retries": 0,
    ...options,
  });
  atEnd(t, () => client.close());
  return client;
}

export type Reply = { error: ServiceError | null; data: string; headers: Metadata; status: StatusObject };

/** Makes a unary call. Its error is part of the result. */
export function call(
  client: Client,
  ask: Ask,
  { metadata = new Metadata(), deadline = Number.POSITIVE_INFINITY, path = "/test.Echo/Unary" } = {},
): Promise<Reply> {
  const reply = new Promise<Reply>((resolve) => {
    const result: Partial<Reply> = { headers: new Metadata() };
    const end = (part: Partial<Reply>) => {
      Object.assign(result, part);
      if (result.status !== undefined && result.error !== undefined) resolve(result as Reply);
    };
    client
      .makeUnaryRequest(path, same, same, Buffer.from(JSON.stringify(ask)), metadata, { deadline }, (error, bytes) =>
        end({ error, data: bytes?.toString() ?? "" }),
      )
      .on("metadata", (headers: Metadata) => end({ headers }))
      .on("status", (status: StatusObject) => end({ status }));
  });
  return bounded(reply, "the end of a call");
}

export const streams = {
  download: (client: Client, count: number, deadline = Number.POSITIVE_INFINITY) =>
    client.makeServerStreamRequest("/test.Echo/Download", same, same, Buffer.from(String(count)), { deadline }),
  chat: (client: Client, path = "/test.Echo/Chat") => client.makeBidiStreamRequest(path, same, same),
  upload: (client: Client, done: (error: ServiceError | null, response?: Buffer) => void) =>
    client.makeClientStreamRequest("/test.Echo/Upload", same, same, done),
};
