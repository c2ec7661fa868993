/** A plugin without the hook for its place is rejected when the configuration is checked. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { makePlugin } from "./bad-plugins.ts";
import { atEnd, runSluice } from "./program.ts";

test("a filter as strategy or router and a router as filter are reported with their place", async (t) => {
  const directory = mkdtempSync(join(tmpdir(), "sluice-roles-"));
  atEnd(t, () => rmSync(directory, { recursive: true }));
  writeFileSync(join(directory, "filter.wasm"), makePlugin("request_head", "i32.const 0"));
  writeFileSync(join(directory, "router.wasm"), makePlugin("route", "i32.const 0"));
  writeFileSync(join(directory, "gate.wasm"), makePlugin("connection", "i32.const 0"));
  const file = join(directory, "sluice.yaml");
  const config = (chain: string, router: string, strategy: string) => `plugins:
  filter: { wasm: ./filter.wasm }
  router: { wasm: ./router.wasm }
  gate: { wasm: ./gate.wasm }
listeners:
  web:
    address: 127.0.0.1:8080
    chain: [${chain}]
    routes: [{ router: ${router}, clusters: [app] }, { cluster: app }]
clusters:
  app: { strategy: ${strategy}, endpoints: [127.0.0.1:9001] }
`;
  writeFileSync(file, config("filter, gate", "router", "random"));
  const right = await runSluice("check", "-c", file);
  assert.equal(right.code, 0, right.stdout + right.stderr);

  // A plugin with only body hooks is a filter too.
  for (const hook of ["request_body", "request_trailers", "response_body", "response_trailers"]) {
    writeFileSync(join(directory, "bodies.wasm"), makePlugin(hook, "i32.const 0"));
    writeFileSync(
      file,
      config("bodies", "router", "random").replace("plugins:", "plugins:\n  bodies: { wasm: ./bodies.wasm }"),
    );
    const bodies = await runSluice("check", "-c", file);
    assert.equal(bodies.code, 0, bodies.stdout + bodies.stderr);
  }

  writeFileSync(file, config("router", "filter", "filter"));
  const wrong = await runSluice("check", "-c", file);
  assert.equal(wrong.code, 1);
  const output = wrong.stdout + wrong.stderr;
  assert.match(
    output,
    /:8:13: listeners\.web\.chain\.0: router is not a filter: its hooks are route, expected request_head/,
  );
  assert.match(output, /:9:24: listeners\.web\.routes\.0\.router: filter is not a router: .*expected route/);
  assert.match(output, /:11:20: clusters\.app\.strategy: filter is not a strategy: .*expected pick/);

  // A connection has no route: the hook would never be called, and all clients would be admitted.
  writeFileSync(file, config("", "router", "random").replace("{ cluster: app }", "{ chain: [gate], cluster: app }"));
  const behind = await runSluice("check", "-c", file);
  assert.match(
    behind.stdout + behind.stderr,
    /listeners\.web\.routes\.1\.chain\.0: gate is not a filter of a route: its hooks are connection, expected request_head/,
  );
});
