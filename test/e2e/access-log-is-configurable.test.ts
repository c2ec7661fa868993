/** The access log has the configured fields and those of plugins, in a file that can be rotated. */
import assert from "node:assert/strict";
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { before } from "node:test";
import { compileSource } from "../contract/plugin-harness.ts";
import { exchange, startUpstream } from "./peers.ts";
import { simpleConfig, startSluice, testInUsualMode, until } from "./program.ts";

const TENANT = `import { Request, Response } from "sluice/sdk";
export function onRequest(req: Request): void {
  const user = req.headers.get("x-user");
  req.log.set("tenant", user == null ? "nobody" : "of \\"" + user + "\\" \\u00e4");
  req.headers.set("x-user", "checked");
  if (req.pathIs("/own")) req.respond(503, "no");
  if (req.pathIs("/bad")) req.log.set("status", "200");
  if (req.pathIs("/many")) for (let i = 0; i < 30; i++) req.log.set("f" + i.toString(), "1");
}
export function onLog(req: Request, res: Response): void { req.log.set("late", res.status.toString()); }
`;

let wasm: Uint8Array;
before(async () => {
  wasm = await compileSource(TENANT);
});

testInUsualMode("access-log-is-configurable: fields, plugins, files, rotation", async (t) => {
  const upstream = await startUpstream(t, (request, response) => {
    response.statusCode = request.url === "/theirs" ? 503 : 200;
    response.setHeader("x-kind", "a");
    response.end("ok");
  });
  const access = (more: string) => `log: { access: { file: ./access.log, ${more} } }
plugins: { tenant: { wasm: ./tenant.wasm } }`;
  const fields =
    "fields: [path, status, outcome, responded_by, header:x-user, upstream:x-user, kind=response:x-kind, upstream_ms]";
  const make = (more: string) => simpleConfig(upstream.port, { rest: access(more), listener: "chain: [tenant]" });
  const sluice = await startSluice(t, make(fields), { files: { "tenant.wasm": wasm }, workers: 2 });
  const file = join(sluice.directory, "access.log");
  const read = (path = file) => (existsSync(path) ? readFileSync(path, "utf8").split("\n").slice(0, -1) : []);
  const get = (path: string) =>
    exchange(t, sluice.port, `GET ${path} HTTP/1.1\r\nHost: a\r\nX-User: eve\r\nConnection: close\r\n\r\n`);
  for (const path of ["/", "/theirs", "/own", "/bad", "/many"]) await get(path);
  await until(() => read().length === 5, "five lines in the file");
  const lines = read().map((line) => JSON.parse(line) as Record<string, unknown>);
  const of = (path: string) => lines.find((line) => line.path === path)!;
  const { upstream_ms, ...first } = of("/");
  assert.equal(typeof upstream_ms, "number");
  assert.deepEqual(first, {
    path: "/",
    status: 200,
    outcome: "ok",
    responded_by: "",
    "header:x-user": "eve",
    "upstream:x-user": "checked",
    kind: "a",
    tenant: 'of "eve" ä',
    late: "200",
  });
  const entryOf = (path: string) => [of(path).status, of(path).outcome, of(path).responded_by];
  assert.deepEqual(entryOf("/theirs"), [503, "ok", ""]);
  assert.deepEqual(entryOf("/own"), [503, "plugin_response", "tenant"]);
  assert.deepEqual(entryOf("/bad"), [500, "plugin_failed", "tenant"]);
  assert.match(sluice.output, /cannot log field \\?"status\\?"/);
  assert.equal(Object.keys(of("/many")).filter((key) => /^f\d+$/.test(key)).length, 19, "twenty, with tenant");
  assert.ok((await sluice.metric("sluice_plugin_log_dropped_total", { plugin: "tenant" })) >= 11);

  renameSync(file, `${file}.1`);
  sluice.kill("SIGUSR1");
  await until(() => existsSync(file), "a new file");
  await until(async () => {
    await get("/after");
    return read().some((line) => line.includes("/after"));
  }, "lines in the new file");

  // With a file at the path already, only the signal makes it the one that is written.
  for (const signal of ["SIGUSR1", "SIGHUP"] as const) {
    renameSync(file, `${file}.${signal}`);
    writeFileSync(file, "");
    sluice.kill(signal);
    await until(async () => {
      await get(`/${signal}`);
      return read().some((line) => line.includes(signal));
    }, `lines in the file that ${signal} opened`);
  }

  sluice.config(make(fields)(sluice.ports).replace("./access.log", "./second.log"));
  assert.equal((await sluice.reload()).status, 200);
  await get("/second");
  const second = () => read(join(sluice.directory, "second.log"));
  await until(() => second().some((line) => line.includes("/second")), "a line in the file of the new configuration");
  assert.ok(!read().some((line) => line.includes("/second")));

  sluice.config(make("format: combined, where: { status: 5xx }")(sluice.ports));
  assert.equal((await sluice.reload()).status, 200);
  await get("/fine");
  await get("/theirs");
  await until(() => read().some((line) => line.startsWith("127.0.0.1 - - [")), "a combined line");
  const combined = read().filter((line) => line.startsWith("127.0.0.1 - - ["));
  assert.ok(
    combined.every((line) => / "GET \/theirs HTTP\/1\.1" 503 2 "-" "-"$/.test(line)),
    combined.join("\n"),
  );

  sluice.config(
    make("format: json, file: ./none/access.log").call(null, sluice.ports).replace("file: ./access.log, ", ""),
  );
  const refused = await sluice.reload();
  assert.match(refused.text, /log\.access\.file.*no such file/);
});
