/** `kv` of the SDK, in the real host with a store. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { plugin } from "../../../src/testing/index.ts";

const directory = mkdtempSync(join(tmpdir(), "sluice-kv-"));
after(() => rmSync(directory, { recursive: true }));

function write(text: string): string {
  const file = join(directory, `p${text.length}.ts`);
  writeFileSync(file, text);
  return file;
}

const SOURCE = `import { fromUtf8, kv, Request, Response, toUtf8 } from "sluice/sdk";
const data = kv("data");
function say(res: Response, name: string, value: string | null): void {
  res.headers.set("x-" + name, value == null ? "null" : value);
}
export function onRequest(req: Request): void {
  const res = req.respond(200);
  say(res, "absent", data.get("ü"));
  data.set("ü", "wert €");
  say(res, "text", encodeURIComponent(data.get("ü")!));
  const bytes = data.getBytes("ü")!;
  say(res, "length", bytes.length.toString());
  data.setBytes("copy", bytes);
  say(res, "same", (data.get("copy") == data.get("ü")).toString());
  const entry = data.getEntry("copy")!;
  say(res, "stale", data.compareAndSet("copy", entry.version + 1, "x").toString());
  say(res, "fresh", data.compareAndSet("copy", entry.version, "x").toString());
  say(res, "new", data.compareAndSet("copy", 0, "y").toString());
  say(res, "sum", data.increment("n", 41).toString() + data.increment("n").toString() + data.get("n")!);
  say(res, "keys", data.list().sort().length.toString() + data.list("co").join() + data.list("", 1).length.toString());
  say(res, "deleted", data.delete("copy").toString() + data.delete("copy").toString() + data.has("copy").toString());
}`;

test("every call of a namespace works", async () => {
  const guest = await plugin(write(SOURCE), { allow: { kv: ["data"] } });
  const { headers } = guest.request().response!;
  const expected = {
    absent: "null",
    text: "wert%20%E2%82%AC",
    length: "8",
    same: "true",
    stale: "false",
    fresh: "true",
    new: "false",
    sum: "41.042.042",
    keys: "3copy1",
    deleted: "truefalsefalse",
  };
  for (const [name, value] of Object.entries(expected)) assert.equal(headers[`x-${name}`], value, name);
});

test("an invalid target is an error with the key, before anything is read or written", async () => {
  const failing = (body: string, options = { allow: { kv: ["data"] } }) =>
    plugin(write(`import { kv, Request } from "sluice/sdk";\nconst data = kv("data");\n${body}`), options);
  const guest = await failing(`export function onRequest(req: Request): void {
    if (req.pathIs("/empty")) data.set("", "x");
    if (req.pathIs("/long")) data.get("k".repeat(257));
    if (req.pathIs("/number")) { data.set("word", "w"); data.increment("word"); }
    if (req.pathIs("/ttl")) data.set("a", "b", -1);
  }`);
  assert.throws(() => guest.request({ url: "/empty" }), /cannot set "": the value is not allowed/);
  assert.throws(() => guest.request({ url: "/long" }), /cannot get "k+": over the limit/);
  assert.throws(() => guest.request({ url: "/number" }), /cannot increment "word": the value is not allowed/);
  assert.throws(() => guest.request({ url: "/ttl" }), /cannot set "a": the value is not allowed/);
  const hook = "export function onRequest(req: Request): void {}";
  await assert.rejects(failing(`data.set("a", "b");\n${hook}`), /cannot set "a": not in this hook/);
  await assert.rejects(
    failing(hook, { allow: { kv: [] } }),
    /cannot use key-value namespace "data": the plugin's conf/,
  );
});
