/** log-hooks-report-the-outcome: a plugin's `onLog` gets each exchange's outcome and durations. */
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { compileSource } from "../contract/plugin-harness.ts";
import { findFreePort } from "./free-port.ts";
import { connectTo, startUpstream } from "./peers.ts";
import { startSluice, testInUsualMode, until } from "./program.ts";

const SOURCE = `import { log, Request, Response } from "sluice/sdk";
export function onRequest(req: Request): void { if (req.pathIs("/trap")) unreachable(); }
export function onResponse(req: Request, res: Response): void {
  if (req.error != "") res.headers.set("x-error", req.error);
}
export function onLog(req: Request, res: Response): void {
  const waited = req.upstreamDuration > 0 && req.duration >= req.upstreamDuration;
  const slow = req.pathIs("/slow") && req.upstreamDuration >= 20000;
  log.info(\`end \${req.path} \${res.status} \${req.error} \${req.attempt} \${waited} \${slow} \${<i32>req.bytesSent}\`);
}`;

testInUsualMode("the outcome, the attempts, the endpoint's time and the sizes", async (t) => {
  const upstream = await startUpstream(t, async ({ url }, response) => {
    if (url === "/slow") await sleep(25);
    if (url !== "/never") response.end("12345");
  });
  const gone = await findFreePort();
  const sluice = await startSluice(
    t,
    ({ web }) => `plugins: { end: { wasm: ./end.wasm } }
listeners:
  web:
    address: 127.0.0.1:${web}
    chain: [end]
    routes: [{ match: { path: /refused }, cluster: gone }, { cluster: app }]
clusters: { app: [127.0.0.1:${upstream.port}], gone: [127.0.0.1:${gone}] }
`,
    { files: { "end.wasm": await compileSource(SOURCE) } },
  );
  const ends = async (end: string) => {
    await sluice.logged(({ msg }) => msg === `end ${end}`, `"end ${end}"`);
  };
  assert.equal((await fetch(`${sluice.url}/slow`)).headers.get("x-error"), null);
  await ends("/slow 200  1 true true 5");
  const refused = await fetch(`${sluice.url}/refused`);
  assert.deepEqual([refused.status, refused.headers.get("x-error")], [502, "connect_refused"]);
  await ends(`/refused 502 connect_refused 1 true false ${(await refused.text()).length}`);
  await ends(`/trap 500 plugin_failed 0 false false ${(await (await fetch(`${sluice.url}/trap`)).text()).length}`);
  const client = await connectTo(t, sluice.port);
  client.send("GET /never HTTP/1.1\r\nHost: a\r\n\r\n");
  await until(() => upstream.requests.some(({ url }) => url === "/never"), "the endpoint is asked");
  client.reset();
  await ends("/never 499 client_gone 1 false false 0");
});
