import assert from "node:assert/strict";
import { test } from "node:test";
import { Resolver } from "../../../src/control/resolve.ts";

test("the system's names resolve to IPv4 where they can, and one that is none is an error", async (t) => {
  const resolver = new Resolver(() => undefined);
  t.after(() => resolver.close());
  assert.deepEqual(await resolver.resolve("localhost"), ["127.0.0.1"]);
  await assert.rejects(resolver.resolve("no-such-name.invalid"), /the name no-such-name\.invalid cannot be resolved/);
});
