import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { type TestContext, test } from "node:test";
import { MessageChannel, type Transferable, Worker } from "node:worker_threads";
import { EndpointColumns } from "../../../src/balance/columns.ts";
import type { FromThread, ThreadInit, ToThread } from "../../../src/control/messages.ts";
import type { ListenerPlan, Plan } from "../../../src/control/plan.ts";
import { Counters } from "../../../src/observe/counters.ts";
import { KeyValueStore } from "../../../src/state/store.ts";

const listener: ListenerPlan = {
  name: "web",
  address: "127.0.0.1:1",
  protocol: "http",
  timeouts: { head: 5000, body: 5000, write: 5000, idle: 5000 },
  limits: { head: 4096, target: 1024, headers: 100, body: 0, connections: 0 },
  trustedProxies: [],
  halfClose: false,
  chain: [],
  routes: [],
  cells: 100,
  requestCells: 200,
  durationCells: 300,
};

/** A data thread, and what it says. */
async function startThread(t: TestContext) {
  const workerData: ThreadInit = {
    thread: 1,
    columns: EndpointColumns.allocate(2).buffer,
    counters: new Counters().block(1),
    keyValue: KeyValueStore.allocate(1 << 20),
    heartbeat: new SharedArrayBuffer(8),
  };
  const worker = new Worker(new URL("../../../src/data/thread.ts", import.meta.url), { workerData });
  t.after(() => worker.terminate());
  const says = async (type: FromThread["type"]): Promise<void> => {
    for (;;) {
      const [message] = (await once(worker, "message")) as [FromThread];
      if (message.type === type) return;
    }
  };
  await says("up");
  const tell = (message: ToThread, transfer: Transferable[] = []): void => worker.postMessage(message, transfer);
  return { tell, says };
}

/** A connection that was accepted here, and on which its client has asked already. */
async function makeFresh(t: TestContext): Promise<{ fresh: Socket; client: Socket }> {
  const server: Server = createServer({ allowHalfOpen: true, pauseOnConnect: true }).listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => server.close());
  const client = connect((server.address() as AddressInfo).port, "127.0.0.1");
  client.on("error", () => undefined);
  client.write("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  t.after(() => client.destroy());
  const [fresh] = (await once(server, "connection")) as [Socket];
  return { fresh, client };
}

test("a connection from a thread that took a version a moment earlier waits until it is taken here too", async (t) => {
  const { tell, says } = await startThread(t);
  const plan: Plan = {
    version: 1,
    modules: [],
    instances: [],
    rollouts: [],
    clusters: [],
    listeners: [listener],
    accessLog: false,
    trace: { header: "x-sluice-debug", token: "", sample: 0, mask: [] },
  };
  tell({ type: "prepare", plan, sockets: [] });
  await says("ready");
  const { port1, port2 } = new MessageChannel();
  t.after(() => port1.close());
  tell({ type: "link", thread: 0, port: port2, give: [] }, [port2]);
  const [early, unknown] = [await makeFresh(t), await makeFresh(t)];
  const deal = (address: string, socket: Socket): void =>
    port1.postMessage({ type: "connection", address, socket }, [socket as never]);
  deal(listener.address, early.fresh);
  deal("127.0.0.1:2", unknown.fresh);
  // At an address that no version names it is closed, which tells that the one before it has come as well.
  await new Promise((resolve) => unknown.client.once("close", resolve));
  tell({ type: "commit", version: 1 });
  assert.match(String(await early.client.setEncoding("latin1").take(1).toArray()), /^HTTP\/1\.1 404 /);
});
