import assert from "node:assert/strict";
import { createSocket, type RemoteInfo } from "node:dgram";
import { test } from "node:test";
import { DATAGRAM_DROPS, LISTENER_CELLS } from "../../../../src/observe/series.ts";
import { UdpListener, type UdpListenerOptions } from "../../../../src/protocol/udp/udp-listener.ts";
import type { ListenerState } from "../../../../src/proxy/snapshot.ts";

test("datagrams that come before a listener serves are kept up to a limit, and those beyond it counted", (t) => {
  const cells = new Float64Array(1000);
  const logged: unknown[] = [];
  const warnings = { admits: () => true, write: (_message: string, fields: unknown) => void logged.push(fields) };
  const socket = createSocket("udp4");
  t.after(() => socket.close());
  const listener = new UdpListener(socket, {
    context: { cells, warnings, clock: { now: 0 } },
    place: { host: "127.0.0.1", port: 53, reusePort: false },
    current: () => undefined,
    leaving: [],
    hasRoom: () => true,
    admit: () => false,
  } as unknown as UdpListenerOptions);
  const from = { address: "192.0.2.1", port: 1 } as RemoteInfo;
  const dropped = (reason: (typeof DATAGRAM_DROPS)[number]) =>
    cells[LISTENER_CELLS.datagramDrops + DATAGRAM_DROPS.indexOf(reason)];
  for (let i = 0; i < 5000; i++) listener.receive(Buffer.alloc(i % 2 === 0 ? 0 : 512), from);
  const plan = { name: "dns", cells: 0, slot: 0 };
  listener.serve({ plan } as unknown as ListenerState);
  // Each costs 256 bytes more than it has: of 512 on average, 2,048 are in 1 MiB. They are refused by `admit`.
  assert.deepEqual([dropped("limit"), dropped("queue")], [2048, 2952]);
  assert.deepEqual(logged.at(-1), { listener: "dns", reason: "queue" });
  listener.serve({ plan } as unknown as ListenerState);
  assert.equal(dropped("queue"), 2952);
});
