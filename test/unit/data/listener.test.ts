import assert from "node:assert/strict";
import { once } from "node:events";
import { BoundSocket, connect } from "node:net";
import { test } from "node:test";
import { Listener } from "../../../src/data/listener.ts";
import type { ListenerState } from "../../../src/proxy/snapshot.ts";

for (const mode of ["handle", "public"])
  test(`a connection that cannot be made is closed and told of once a second, and the thread lives (${mode})`, async (t) => {
    const before = process.env.SLUICE_ACCEPT;
    process.env.SLUICE_ACCEPT = mode;
    const told: string[] = [];
    const listener = new Listener("127.0.0.1:0", {
      open: () => {
        throw new Error("no room");
      },
      failed: (_address, problem) => told.push(problem),
    });
    const socket = new BoundSocket({ host: "127.0.0.1", port: 0 });
    const { port } = socket.address();
    listener.hold(socket);
    listener.serve({ plan: { limits: { connections: 0 } } } as ListenerState);
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
    assert.deepEqual(told, ["accept: Error: no room"]);
  });
