/** A plugin can import, read and change only what its configuration allows. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { compileSource } from "../contract/plugin-harness.ts";
import { asksPreciseTime } from "./bad-plugins.ts";
import { startUpstream } from "./peers.ts";
import { runSluice, simpleConfig, startSluice, testInUsualMode } from "./program.ts";

const PROBLEM =
  /sluice\.yaml:\d+:\d+: plugins\.timer(\.allow)?: imports sluice:clock\/1, which is not allowed: add `allow: \{ clock: precise \}`/;

testInUsualMode(
  "an import that is not allowed is rejected at check, start and reload, with the line to add",
  async (t) => {
    const upstream = await startUpstream(t);
    const config = (allow: string) => (ports: { web: number; admin: number }) =>
      `plugins: { timer: { wasm: ./timer.wasm${allow} } }\n${simpleConfig(upstream.port, { listener: "chain: [timer]" })(ports)}`;
    const sluice = await startSluice(t, config(", allow: { clock: precise }"), {
      files: { "timer.wasm": asksPreciseTime() },
    });
    assert.equal((await fetch(sluice.url)).status, 200);
    for (const allow of ["", ", allow: {}", ", allow: { clock: coarse }"]) {
      sluice.config(config(allow)(sluice.ports));
      const { status, text } = await sluice.reload();
      assert.equal(status, 422, text);
      assert.match(JSON.parse(text).problems[0], PROBLEM);
      assert.equal((await fetch(sluice.url)).status, 200);
    }
    await sluice.stop();
    const file = join(sluice.directory, "sluice.yaml");
    for (const command of ["check", "run"]) {
      const { code, stdout, stderr } = await runSluice(command, "-c", file);
      assert.equal(code, 1);
      assert.match(stdout + stderr, PROBLEM);
    }
  },
);

testInUsualMode("a hidden header reaches the upstream, but not the plugins that it is hidden from", async (t) => {
  const upstream = await startUpstream(t);
  const wasm = await compileSource(`import { Request } from "sluice/sdk";
    export function onRequest(req: Request): void {
      const cookie = req.headers.get("Cookie");
      req.headers.set("x-seen", cookie == null ? "nothing" : cookie);
      req.headers.set("x-count", req.headers.count.toString());
      req.headers.remove("cookie");
    }`);
  const sluice = await startSluice(
    t,
    (ports) => `plugins:
  blind: { wasm: ./p.wasm, allow: { headers: { hide: [authorization, cookie] } } }
  seeing: { wasm: ./p.wasm }
${simpleConfig(upstream.port)(ports).replace(
  "routes: [",
  "routes: [{ match: { path: /blind }, chain: [blind], cluster: app }, { match: { path: /seeing }, chain: [seeing], cluster: app }, ",
)}`,
    { files: { "p.wasm": wasm } },
  );
  const headers = { cookie: "session=1" };
  await (await fetch(`${sluice.url}/blind`, { headers })).text();
  await (await fetch(`${sluice.url}/seeing`, { headers })).text();
  const [blind, seeing] = upstream.requests.map((request) => request.headers);
  assert.deepEqual([blind!["x-seen"], blind!.cookie], ["nothing", "session=1"]);
  assert.deepEqual([seeing!["x-seen"], seeing!.cookie], ["session=1", undefined]);
  assert.equal(Number(seeing!["x-count"]) - Number(blind!["x-count"]), 1);
});

testInUsualMode("a plugin shares values with later ones, and only where it is allowed to", async (t) => {
  const wasm = await compileSource(`import { Config, Request } from "sluice/sdk";
    const user = Config.string("user", "");
    export function onRequest(req: Request): void {
      if (user.length > 0) return req.share("user", user);
      const found = req.shared("user");
      req.respond(200, found == null ? "nobody" : found);
    }`);
  const sluice = await startSluice(
    t,
    (ports) => `plugins:
  auth: { wasm: ./p.wasm, config: { user: ann }, allow: { share: [user] } }
  liar: { wasm: ./p.wasm, config: { user: eve }, onFailure: skip }
  tells: { wasm: ./p.wasm }
listeners:
  web:
    address: 127.0.0.1:${ports.web}
    routes:
      - { match: { path: /known }, chain: [auth, liar, tells], cluster: none }
      - { chain: [liar, tells], cluster: none }
clusters: { none: ["127.0.0.1:9"] }
`,
    { files: { "p.wasm": wasm } },
  );
  assert.equal(await (await fetch(`${sluice.url}/known`)).text(), "ann");
  assert.equal(await (await fetch(`${sluice.url}/unknown`)).text(), "nobody");
  await sluice.metricIs(2, "sluice_plugin_failures_total", { plugin: "liar", reason: "abort" });
});
