import assert from "node:assert/strict";
import { test } from "node:test";
import { Origins } from "../../../src/data/outgoing.ts";
import { STATUS } from "../../../src/plugin/abi.ts";
import { startRawUpstream } from "../../e2e/peers.ts";
import { atEnd, bounded } from "../../e2e/program.ts";

test("an origin that would rather speak another protocol is one that cannot be reached, and that at once", async (t) => {
  const upstream = await startRawUpstream(t, async (peer) => {
    await peer.head();
    peer.send("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n");
  });
  const origins = new Origins();
  atEnd(t, () => origins.close());
  const request = {
    target: `http://127.0.0.1:${upstream.port}`,
    endpoint: null,
    head: Buffer.from("GET / HTTP/1.1\r\nhost: a\r\n\r\n"),
    body: Buffer.alloc(0),
    timeout: 3_600_000,
    most: 1000,
  };
  const answer = new Promise((resolve) => {
    const cancel = origins.ask(request, resolve);
    atEnd(t, cancel);
  });
  assert.equal(await bounded(answer, "the answer"), STATUS.unreachable);
});
