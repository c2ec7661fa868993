import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:net";
import { test } from "node:test";
import { chooseFreePorts } from "../../../src/cli/free-ports.ts";
import { findFreePort } from "../../e2e/free-port.ts";

test("ports that are in use, or chosen for another name, are passed over", async (t) => {
  const first = await findFreePort();
  const { a, b } = await chooseFreePorts({ a: first, b: first });
  assert.ok(a >= first && b > a, `${first}, ${a}, ${b}`);
  const server = createServer();
  t.after(() => server.close());
  await once(server.listen(a, "127.0.0.1"), "listening");
  assert.ok((await chooseFreePorts({ c: a })).c > a);
});
