import assert from "node:assert/strict";
import { test } from "node:test";
import { checkGuests } from "../../../src/control/plugin-start-check.ts";

test("more guests than a process can hold are rejected with the number", () => {
  const at = { file: "s.yaml", line: 1, column: 1, path: "plugins" };
  assert.equal(checkGuests(4, 1500, at), null);
  assert.deepEqual(checkGuests(4, 1501, at), {
    ...at,
    message: "6004 plugin guests (1501 on each of 4 workers), the limit is 6000",
  });
});
