import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, BoundSocket, connect, createServer, type Server, type Socket } from "node:net";
import { constants } from "node:os";
import { type TestContext, test } from "node:test";
import { takeConnections } from "../../../src/net/accept.ts";
import { Buffers } from "../../../src/net/buffers.ts";
import { Clock } from "../../../src/net/clock.ts";
import type { ListenerState } from "../../../src/proxy/snapshot.ts";
import { Listener } from "../../../src/worker/listener.ts";

const context = { clock: new Clock(), buffers: new Buffers(), report: () => undefined, cells: new Float64Array(1) };

for (const mode of ["handle", "public"])
  test(`each connection that cannot be set up is closed and reported, and the worker continues (${mode})`, async (t) => {
    const before = process.env.SLUICE_ACCEPT;
    process.env.SLUICE_ACCEPT = mode;
    const reported: string[] = [];
    const listener = new Listener("127.0.0.1:0", {
      context,
      admit: () => {
        throw new Error("no room");
      },
      opened: () => undefined,
      closed: () => undefined,
      dispatch: () => false,
      failed: () => undefined,
      acceptFailed: (_port, problem) => reported.push(problem),
    });
    const socket = new BoundSocket({ host: "127.0.0.1", port: 0 });
    const { port } = socket.address();
    listener.addSocket(socket);
    listener.serve({ plan: { limits: { connections: 0, connectionsPerClient: 0 } } } as ListenerState, 1);
    t.after(() => {
      listener.close();
      if (before === undefined) delete process.env.SLUICE_ACCEPT;
      else process.env.SLUICE_ACCEPT = before;
    });
    for (let turn = 0; turn < 3; turn++) {
      const client = connect(port, "127.0.0.1");
      client.on("error", () => undefined);
      await once(client, "close");
    }
    assert.deepEqual(reported, Array(3).fill("accept: Error: no room"));
  });

test("each accept error of the system is reported by its name", (t) => {
  const reported: string[] = [];
  const handle: { onconnection: (error: number) => void } = { onconnection: () => undefined };
  const before = process.env.SLUICE_ACCEPT;
  process.env.SLUICE_ACCEPT = "handle";
  t.after(() => {
    if (before === undefined) delete process.env.SLUICE_ACCEPT;
    else process.env.SLUICE_ACCEPT = before;
  });
  takeConnections({ _handle: handle } as unknown as Server, {
    accept: () => assert.fail("no connection was accepted"),
    opened: () => assert.fail("no connection was accepted"),
    failed: (problem) => reported.push(problem),
  });
  for (const name of ["EMFILE", "ENFILE", "ENOBUFS"] as const) handle.onconnection(-constants.errno[name]);
  assert.deepEqual(reported, ["accept: EMFILE", "accept: ENFILE", "accept: ENOBUFS"]);
});

/** A connection that another worker accepted, and the client's end of it. */
async function makeConnection(t: TestContext): Promise<{ accepted: Socket; client: Socket }> {
  const server = createServer({ pauseOnConnect: true }).listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => server.close());
  const client = connect((server.address() as AddressInfo).port, "127.0.0.1");
  client.on("error", () => undefined);
  t.after(() => client.destroy());
  const [accepted] = (await once(server, "connection")) as [Socket];
  return { accepted, client };
}

test("a connection accepted by another worker for a version that is not active here yet is queued until it is", async (t) => {
  let opened = 0;
  const options = {
    context,
    admit: () => {
      opened++;
      throw new Error("no room");
    },
    opened: () => undefined,
    closed: () => undefined,
    dispatch: () => false,
    failed: () => undefined,
    acceptFailed: () => undefined,
  };
  const [taken, given] = [await makeConnection(t), await makeConnection(t)];
  const listener = new Listener("127.0.0.1:0", options);
  listener.addConnection(taken.accepted);
  assert.deepEqual([opened, taken.accepted.destroyed], [0, false]);
  listener.serve({ plan: { limits: { connections: 0, connectionsPerClient: 0 } } } as ListenerState, 1);
  assert.equal(opened, 1);
  listener.close();

  const aborted = new Listener("127.0.0.1:0", options);
  aborted.addConnection(given.accepted);
  aborted.close();
  await once(given.client, "close");
  assert.equal(opened, 1);
});
