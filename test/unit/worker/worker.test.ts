import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, BoundSocket, connect, createServer, type Server, type Socket } from "node:net";
import { type TestContext, test } from "node:test";
import { MessageChannel, type Transferable, Worker } from "node:worker_threads";
import { EndpointColumns } from "../../../src/cluster/columns.ts";
import { ClientCounts } from "../../../src/net/client-counts.ts";
import { ConnectionCounts } from "../../../src/net/connection-counts.ts";
import { RateTable } from "../../../src/net/rate-table.ts";
import { TicketKeys } from "../../../src/net/ticket-keys.ts";
import { Counters } from "../../../src/observe/counters.ts";
import type { ListenerPlan, Plan } from "../../../src/plan/plan.ts";
import { KeyValueStore } from "../../../src/state/store.ts";
import type { FromWorker, ToWorker, WorkerInit } from "../../../src/worker/messages.ts";
import { plainListener } from "../../support/listener.ts";
import { buildFixture, planOf } from "../plugin/kit.ts";

const listener: ListenerPlan = { ...plainListener, address: "127.0.0.1:1" };

const plan: Plan = {
  version: 1,
  modules: [],
  instances: [],
  rollouts: [],
  clusters: [],
  listeners: [listener],
  accessLog: null,
  trace: { header: "x-sluice-debug", token: "", sample: 0, mask: [] },
  grace: 0,
};

/** A worker, and its messages. */
async function startThread(t: TestContext) {
  const workerData: WorkerInit = {
    worker: 1,
    columns: EndpointColumns.allocate(2).buffer,
    connections: ConnectionCounts.allocate(2),
    clients: ClientCounts.allocate(2),
    rates: RateTable.allocate(),
    counters: new Counters().block(1),
    keyValue: KeyValueStore.allocate(1 << 20),
    ticketKeys: TicketKeys.allocate(),
    heartbeat: new SharedArrayBuffer(8),
  };
  const worker = new Worker(new URL("../../../src/worker/worker.ts", import.meta.url), { workerData });
  t.after(() => worker.terminate());
  const received: FromWorker[] = [];
  worker.on("message", (message: FromWorker) => received.push(message));
  /** The first message of that kind that was not returned yet. */
  const receive = async (type: FromWorker["type"]): Promise<FromWorker> => {
    for (;;) {
      const at = received.findIndex((message) => message.type === type);
      if (at >= 0) return received.splice(at, 1)[0]!;
      await once(worker, "message");
    }
  };
  await receive("up");
  const send = (message: ToWorker, transfer: Transferable[] = []): void => worker.postMessage(message, transfer);
  return { send, receive, received };
}

/** A connection that was accepted here, with a request already sent. */
async function makeConnection(t: TestContext): Promise<{ accepted: Socket; client: Socket }> {
  const server: Server = createServer({ allowHalfOpen: true, pauseOnConnect: true }).listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => server.close());
  const client = connect((server.address() as AddressInfo).port, "127.0.0.1");
  client.on("error", () => undefined);
  client.write("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  t.after(() => client.destroy());
  const [accepted] = (await once(server, "connection")) as [Socket];
  return { accepted, client };
}

test("a connection from a worker that activated a version earlier is queued until it is active here too", async (t) => {
  const { send, receive } = await startThread(t);
  send({ type: "prepare", plan, sockets: [] });
  await receive("ready");
  const { port1, port2 } = new MessageChannel();
  t.after(() => port1.close());
  send({ type: "link", worker: 0, port: port2, transfer: [] }, [port2]);
  const [early, unknown] = [await makeConnection(t), await makeConnection(t)];
  const deal = (address: string, socket: Socket): void =>
    port1.postMessage({ type: "connection", address, socket }, [socket as never]);
  deal(listener.address, early.accepted);
  deal("127.0.0.1:2", unknown.accepted);
  // At an address that no version names it is closed, which shows that the one before it was received as well.
  await new Promise((resolve) => unknown.client.once("close", resolve));
  send({ type: "commit", version: 1 });
  assert.match(String(await early.client.setEncoding("latin1").take(1).toArray()), /^HTTP\/1\.1 404 /);
});

test("a version cancelled while its guests start is discarded, and the next one is activated", async (t) => {
  const { send, receive } = await startThread(t);
  send({ type: "prepare", plan, sockets: [] });
  await receive("ready");
  send({ type: "commit", version: 1 });
  await receive("committed");
  const socket = new BoundSocket({ host: "127.0.0.1", port: 0 });
  const { port } = socket.address() as AddressInfo;
  const address = `127.0.0.1:${port}`;
  const slow: Plan = {
    ...plan,
    version: 2,
    modules: [buildFixture("slow-start")],
    instances: Array.from({ length: 300 }, (_, i) => planOf({ key: String(i) })),
    listeners: [listener, { ...listener, address }],
  };
  send({ type: "prepare", plan: slow, sockets: [{ address, socket, shared: false, udp: null }] }, [socket as never]);
  send({ type: "abort", version: 2 });
  assert.deepEqual(await receive("disposed"), { type: "disposed", version: 2 });
  send({ type: "prepare", plan: { ...plan, version: 3 }, sockets: [] });
  assert.deepEqual(await receive("ready"), { type: "ready", version: 3 });
  send({ type: "commit", version: 3 });
  assert.deepEqual(await receive("committed"), { type: "committed", version: 3 });
});

test("a worker reports once that it is drained", async (t) => {
  const { send, receive, received } = await startThread(t);
  send({ type: "prepare", plan, sockets: [] });
  await receive("ready");
  send({ type: "commit", version: 1 });
  await receive("committed");
  send({ type: "drain", grace: 1000 });
  await receive("drained");
  for (const version of [2, 3]) {
    send({ type: "prepare", plan: { ...plan, version }, sockets: [] });
    await receive("ready");
    send({ type: "abort", version });
    await receive("disposed");
  }
  assert.ok(!received.some(({ type }) => type === "drained"));
});
