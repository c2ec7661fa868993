/** Default limits are enough for what the configuration allows: bodies up to `limits.body`, the longest queries. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { plugin } from "../../sdk/test.js";
import { LIMIT } from "../../src/abi/abi.ts";

const ROOT = join(import.meta.dirname, "../..");
const MEBIBYTE = 1024 * 1024;
const directory = mkdtempSync(join(tmpdir(), "sluice-fuel-"));
after(() => rmSync(directory, { recursive: true }));

const row = (id: number) => ({
  ...{
    id,
    name: `user ${id}`,
    email: `user${id}@example.com`,
    password: "secret",
    tags: ["a", "ü", "c"],
    active: true,
  },
  cards: [{ number: "4111111111111111", until: "12/30" }],
});
/** JSON of at most `bytes` bytes. */
const shapes: Record<string, (bytes: number) => string> = {
  rows: (bytes) => JSON.stringify(Array.from({ length: Math.floor(bytes / 200) }, (_, i) => row(i))),
  "indented rows": (bytes) =>
    JSON.stringify(
      Array.from({ length: Math.floor(bytes / 400) }, (_, i) => row(i)),
      null,
      4,
    ),
  numbers: (bytes) => `[${"1,".repeat(bytes / 2 - 2)}1]`,
  "empty lists": (bytes) => `[${"[],".repeat(bytes / 3 - 2)}1]`,
  maps: (bytes) => `[${'{"a":1,"b":{}},'.repeat(bytes / 16)}1]`,
  "one text": (bytes) => JSON.stringify("x".repeat(bytes - 2)),
  escapes: (bytes) => `"${"\\n".repeat(bytes / 2 - 2)}"`,
  "text beyond ASCII": (bytes) => `"${"ü€".repeat(bytes / 5 - 2)}"`,
  spaces: (bytes) => `[${" \n".repeat(bytes / 2 - 2)}1]`,
};

test("mask-json masks a body of any shape up to its limit, with default fuel and memory", async () => {
  const mask = await plugin(join(ROOT, "examples/mask-json/plugins/mask.ts"), {
    config: { fields: ["headers.authorization", "**.password", "cards.*.number"] },
  });
  for (const bytes of [77_000, MEBIBYTE])
    for (const [name, make] of Object.entries(shapes)) {
      const body = make(bytes);
      assert.ok(Buffer.byteLength(body) <= bytes && Buffer.byteLength(body) > bytes / 2, name);
      const result = mask.responseBody(body, { response: { headers: { "content-type": "application/json" } } });
      assert.equal(result.response, null, name);
      if (!name.includes("rows")) assert.equal(result.body, body, name);
      else assert.deepEqual(JSON.parse(result.body), JSON.parse(body.replaceAll('"secret"', '"***"')), name);
    }
});

/** As many parameters as a query can have, the key last. */
const query = (parameters: number, more = "") =>
  Array.from({ length: parameters }, (_, i) => `k${i}=v`).join("&") + more;

test("api-key finds its key in a query of 8,000 parameters", async () => {
  const key = "0123456789abcdef0123";
  const guest = await plugin(join(ROOT, "plugins/api-key.ts"), { config: { keys: { a: key }, query: "key" } });
  assert.equal(guest.request({ url: `/?${query(8000)}` }).response?.status, 401);
  const { outcome, query: left } = guest.request({ url: `/?${query(8000, `&key=${key}`)}` });
  assert.deepEqual([outcome, left], ["continue", query(8000)]);
  const escaped = "%6b=%76&".repeat(LIMIT.headBytes / 16 / 8);
  assert.equal(guest.request({ url: `/?${escaped}` }).response?.status, 401);
});

test("a custom filter reads each parameter of a long query, and each word of a long body", async () => {
  const source = `import { Body, Query, Request } from "sluice/sdk";
    export function onRequest(req: Request): void {
      const query = new Query(req.query);
      let length = 0;
      for (let i = 0; i < query.count; i++) length += query.nameAt(i).length + query.valueAt(i).length;
      req.headers.set("x-length", length.toString());
    }
    export function onRequestBody(req: Request, body: Body): void {
      body.replaceText(body.text().replaceAll("secret", "******"));
    }`;
  const file = join(directory, "look.ts");
  writeFileSync(file, source);
  const guest = await plugin(file);
  const { headers } = guest.request({ url: `/?${query(8000)}` });
  assert.equal(headers["x-length"], String(query(8000).replaceAll(/[&=]/g, "").length));
  const text = "the word secret stands here ".repeat(10_000);
  assert.equal(guest.requestBody(text).body, text.replaceAll("secret", "******"));
});
