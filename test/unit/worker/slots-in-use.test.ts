import assert from "node:assert/strict";
import { test } from "node:test";
import { EndpointColumns } from "../../../src/cluster/columns.ts";
import { SlotsInUse } from "../../../src/worker/slots-in-use.ts";

test("each slot is reported when this worker no longer uses it, and then all together", () => {
  const columns = EndpointColumns.allocate(2);
  const slots = new SlotsInUse(1, columns);
  const events: (number | string)[] = [];
  const report = (name: string) =>
    slots.whenFree(
      [3, 4, 5],
      () => events.push(name),
      (slot) => events.push(slot),
    );
  columns.addInFlight(0, 3, 1);
  report("free");
  assert.deepEqual(events.splice(0), [3, 4, 5, "free"], "what another worker uses is that worker's to report");

  columns.addInFlight(1, 4, 2);
  columns.addInFlight(1, 5, 1);
  report("used");
  assert.deepEqual(events.splice(0), [3]);
  columns.addInFlight(1, 5, -1);
  columns.addInFlight(1, 4, -1);
  slots.sweep();
  assert.deepEqual(events.splice(0), [5]);
  columns.addInFlight(1, 4, -1);
  slots.sweep();
  slots.sweep();
  assert.deepEqual(events, [4, "used"]);
  slots.whenFree([], () => events.push("none"));
  assert.equal(events.at(-1), "none");
});
