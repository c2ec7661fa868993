/** `sluice schema | head -1`: a reader that closes early does not fail a command. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { test } from "node:test";

test("a command whose output is closed ends without a stack", async () => {
  const program = join(import.meta.dirname, "../../../bin/sluice.js");
  const child = spawn(process.execPath, [program, "schema"], { stdio: ["ignore", "pipe", "pipe"] });
  child.stdout.destroy();
  const said = text(child.stderr);
  const [code] = await once(child, "close");
  assert.deepEqual([code, await said], [0, ""]);
});
