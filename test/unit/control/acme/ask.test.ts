import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { test } from "node:test";
import { askFor } from "../../../../src/control/acme/ask.ts";

test("a server that does not respond in time is reported as such", async (t) => {
  const server = createServer();
  await once(server.listen(0, "127.0.0.1"), "listening");
  t.after(() => server.close());
  const late = new AbortController();
  t.mock.method(AbortSignal, "timeout", () => late.signal);
  const { port } = server.address() as AddressInfo;
  const connected = once(server, "connection");
  const asked = askFor(`http://127.0.0.1:${port}/`, "a.example", new AbortController().signal);
  await connected;
  late.abort();
  await assert.rejects(asked, /^Error: no response within 5000 ms$/);
});
