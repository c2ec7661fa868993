/** A worker in an endless loop is ended, and its replacement serves. */
import assert from "node:assert/strict";
import { makePlugin } from "./bad-plugins.ts";
import { startUpstream } from "./peers.ts";
import { simpleConfig, startSluice, testInUsualMode, until } from "./program.ts";

/** One turn of the loop costs a few units of fuel and hundreds of cycles: the most fuel that can be configured lasts for minutes. */
const slow = makePlugin(
  "request_head",
  `(local $x i64) (local.set $x (i64.const 0x7fffffffffffffff))
   (loop $turn
     ${"(local.set $x (i64.add (i64.const 0x7ffffffffffffff1) (i64.rem_u (i64.const -1) (local.get $x))))".repeat(40)}
     br $turn)
   i32.const 0`,
);

testInUsualMode("stuck-worker-is-replaced", async (t) => {
  const upstream = await startUpstream(t);
  const sluice = await startSluice(
    t,
    (ports) => `plugins: { slow: { wasm: ./slow.wasm, limits: { fuel: 2000000000 } } }
${simpleConfig(upstream.port)(ports).replace("routes: [", "routes: [{ match: { path: /slow }, chain: [slow], cluster: app }, ")}`,
    { files: { "slow.wasm": slow } },
  );
  assert.equal((await fetch(sluice.url)).status, 200);
  const lost = fetch(`${sluice.url}/slow`).then(
    (response) => response.status,
    () => "broken",
  );
  await sluice.logged((line) => /stuck/.test(line.msg ?? ""), "that the worker is stuck", 60_000);
  assert.equal(await lost, "broken");
  const status = () =>
    fetch(sluice.url).then(
      (response) => response.status,
      () => 0,
    );
  await until(async () => (await status()) === 200, "the successor serves");
  await sluice.metricIs(1, "sluice_worker_restarts_total", { reason: "stuck" });
  await sluice.metricIs(0, "sluice_requests_in_flight");
});
