/** The health protocol of gRPC, against a server of grpc-js and hostile ones. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { type TestContext, test } from "node:test";
import { Server, ServerCredentials, type ServerUnaryCall, type sendUnaryData } from "@grpc/grpc-js";
import type { CheckResult } from "../../../src/cluster/health.ts";
import { type NativeProbe, probe } from "../../../src/control/probe.ts";

const same = (bytes: Buffer): Buffer => bytes;
const CHECK = {
  Check: {
    path: "/grpc.health.v1.Health/Check",
    requestStream: false,
    responseStream: false,
    requestSerialize: same,
    requestDeserialize: same,
    responseSerialize: same,
    responseDeserialize: same,
  },
};

type Answer = { status: number } | { code: number };

/** A server whose health service knows these services. */
async function startServer(t: TestContext, services: Readonly<Record<string, Answer>> | null): Promise<number> {
  const server = new Server();
  if (services !== null)
    server.addService(CHECK, {
      Check(call: ServerUnaryCall<Buffer, Buffer>, respond: sendUnaryData<Buffer>) {
        const answer = services[call.request.subarray(2).toString()] ?? { code: 5 };
        if ("code" in answer) return respond({ code: answer.code });
        // An unknown field before the status.
        respond(null, Buffer.from([0x12, 1, 7, ...(answer.status === 0 ? [] : [0x08, answer.status])]));
      },
    });
  t.after(() => server.forceShutdown());
  return new Promise((resolve) =>
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (_, port) => resolve(port)),
  );
}

function check(port: number, service = "", timeout = 5000): Promise<CheckResult> {
  const plan: NativeProbe = { kind: "grpc", service, host: "" };
  const endpoint = { address: `127.0.0.1:${port}`, host: "127.0.0.1", port, path: "", weight: 1, zone: "" };
  return new Promise((resolve) =>
    probe(plan, { endpoint: { ...endpoint, slot: 0, cells: 0 }, timeout, tls: null, proxyProtocol: null }, resolve),
  );
}

test("SERVING is healthy, any other status and a failed call are not", async (t) => {
  const long = "s".repeat(200);
  const services = { "": { status: 1 }, a: { status: 2 }, b: { status: 0 }, c: { status: 9 }, d: { code: 14 } };
  // The length of a long name has two bytes.
  const port = await startServer(t, { ...services, [`\x01${long}`]: { status: 1 } });
  assert.deepEqual(await check(port), { result: "healthy", problem: "" });
  assert.equal((await check(port, long)).result, "healthy");
  const problems = {
    a: "NOT_SERVING",
    b: "UNKNOWN",
    c: "health status 9",
    d: "status 14 of gRPC",
    e: 'unknown service "e"',
  };
  for (const [service, problem] of Object.entries(problems))
    assert.deepEqual(await check(port, service), { result: "unhealthy", problem }, service);
  assert.equal((await check(await startServer(t, null))).problem, "the endpoint has no health service");
});

/** A server that sends these bytes. */
async function startRaw(t: TestContext, send: (socket: Socket) => void): Promise<number> {
  const server = createServer((socket) => {
    socket.on("error", () => undefined).on("data", () => undefined);
    send(socket);
  });
  t.after(() => server.close());
  await once(server.listen(0, "127.0.0.1"), "listening");
  return (server.address() as AddressInfo).port;
}

const frame = (type: number, flags: number, stream: number, payload: Buffer): Buffer =>
  Buffer.concat([Buffer.from([0, payload.length >> 8, payload.length & 255, type, flags, 0, 0, 0, stream]), payload]);
const field = (name: string, value: string): Buffer =>
  Buffer.from([0, name.length, ...Buffer.from(name), value.length, ...Buffer.from(value)]);
const OK = Buffer.concat([Buffer.of(0x88), field("content-type", "application/grpc")]);
const STATUS = field("grpc-status", "0");
const head = frame(1, 4, 1, OK);
const end = frame(1, 5, 1, STATUS);
const message = (...bytes: number[]): Buffer => frame(0, 0, 1, Buffer.from(bytes));

test("malformed and endless responses are unhealthy, with the reason", async (t) => {
  const cases: [name: string, sent: Buffer, problem: RegExp][] = [
    ["healthy", Buffer.concat([head, message(0, 0, 0, 0, 2, 8, 1), end]), /^$/],
    ["in parts", Buffer.concat([head, message(0, 0, 0), message(0, 2, 8, 1), end]), /^$/],
    ["HTTP/1", Buffer.from("HTTP/1.1 400 Bad Request\r\n\r\n"), /^invalid HTTP\/2: HTTP\/1 instead of HTTP\/2$/],
    ["another status", frame(1, 5, 1, Buffer.of(0x8d)), /^status 404$/],
    ["no gRPC", frame(1, 5, 1, Buffer.of(0x88)), /^no response of gRPC$/],
    ["no message", Buffer.concat([head, end]), /^an invalid message$/],
    ["a wrong length", Buffer.concat([head, message(0, 0, 0, 0, 9, 8, 1), end]), /^an invalid message$/],
    ["compressed", Buffer.concat([head, message(1, 0, 0, 0, 2, 8, 1), end]), /^an invalid message$/],
    [
      "a field beyond the end",
      Buffer.concat([head, message(0, 0, 0, 0, 3, 0x12, 0xff, 1), end]),
      /^an invalid message$/,
    ],
    [
      "no status",
      Buffer.concat([head, frame(0, 1, 1, Buffer.from([0, 0, 0, 0, 2, 8, 1]))]),
      /^a response without a status$/,
    ],
    ["a reset", frame(3, 0, 1, Buffer.alloc(4)), /^the endpoint reset the call$/],
    ["GOAWAY", frame(7, 0, 0, Buffer.alloc(8)), /^the endpoint closes the connection$/],
    [
      "an orderly GOAWAY",
      Buffer.concat([frame(7, 0, 0, Buffer.from([0, 0, 0, 1, 0, 0, 0, 0])), head, message(0, 0, 0, 0, 2, 8, 1), end]),
      /^$/,
    ],
    ["bad HPACK", frame(1, 4, 1, Buffer.of(0x80)), /^malformed headers$/],
    ["padding", frame(1, 12, 1, Buffer.of(200, 0x88)), /^malformed headers$/],
    ["CONTINUATION", frame(1, 0, 1, OK), /^headers over 16384 bytes$/],
    ["a long message", Buffer.concat([head, frame(0, 0, 1, Buffer.alloc(2000))]), /^a response that is too long$/],
    [
      "pings",
      Buffer.concat(Array.from({ length: 5000 }, () => frame(6, 0, 0, Buffer.alloc(8)))),
      /^no response in 65535 bytes$/,
    ],
  ];
  for (const [name, sent, problem] of cases) {
    const port = await startRaw(t, (socket) => socket.write(sent));
    assert.match((await check(port)).problem, problem, name);
  }
  const closed = await startRaw(t, (socket) => socket.end(frame(4, 0, 0, Buffer.alloc(0))));
  assert.equal((await check(closed)).problem, "connection closed before a response");
  const silent = await startRaw(t, () => undefined);
  assert.equal((await check(silent, "", 50)).problem, "no complete response within 50 ms");
});
