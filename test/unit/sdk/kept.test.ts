/**
 * What a plugin keeps between calls: bytes of a request, the end of a chunk, values that are loaded once; and how old a
 * latency is.
 */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import fc from "fast-check";
import { plugin } from "../../../src/testing/index.ts";

const directory = mkdtempSync(join(tmpdir(), "sluice-kept-"));
after(() => rmSync(directory, { recursive: true }));

const SOURCE = `import { Body, Endpoints, Fetch, kv, Request, Response, SingleFlight, toBytes, fromBytes } from "sluice/sdk";
function load(key: string): string | null {
  const response = new Fetch("cluster:users/" + key).send();
  return response.ok ? response.text() : null;
}
const users = new SingleFlight(kv("users"), load, 60_000);
export function onRequest(req: Request): void {
  if (req.pathStartsWith("/bytes")) {
    req.setBytes("k", toBytes("\\0\\xff\\x80"));
    if (req.getBytes("none") === null) req.headers.set("x-bytes", fromBytes(req.getBytes("k")!) == "\\0\\xff\\x80" ? "same" : "other");
    const large = new StaticArray<u8>(60000);
    if (req.pathIs("/bytes/many")) for (let i = 0; i < 20; i++) req.setBytes("many" + i.toString(), large);
  } else if (req.pathStartsWith("/users/")) {
    const user = users.get(req.path.substring(7));
    req.headers.set("x-user", user === null ? "none" : user);
  }
}
/** Writes each line backwards. */
function turn(body: Body): void {
  const bytes = body.take();
  const end = body.last ? bytes.length : bytes.lastIndexOf(0x0a) + 1;
  body.keep(bytes.subarray(end));
  for (let from = 0; from < end; ) {
    let to = bytes.indexOf(0x0a, from);
    if (to < 0) to = end;
    bytes.subarray(from, to).reverse();
    from = to + 1;
  }
  body.replace(bytes.subarray(0, end));
}
export function onRequestBody(req: Request, body: Body): void { turn(body); }
export function onResponseBody(req: Request, res: Response, body: Body): void { turn(body); }
export function pick(endpoints: Endpoints): i32 {
  let oldest = 0;
  for (let i = 0; i < endpoints.length; i++) if (endpoints.latencyAge(i) > endpoints.latencyAge(oldest)) oldest = i;
  return endpoints.latency(oldest) == 40 ? oldest : -1;
}
`;
const file = join(directory, "keeps.ts");
writeFileSync(file, SOURCE);
const allow = { kv: ["users"], fetch: ["cluster:users"] };
const guest = await plugin(file, { allow, limits: { memory: "1MiB" } });

test("bytes are stored unchanged for the request, and count towards its memory", async () => {
  assert.equal((await guest.requestAsync({ url: "/bytes" })).headers["x-bytes"], "same");
  await assert.rejects(
    guest.requestAsync({ url: "/bytes/many" }),
    /exchange_set: 60\d+ more bytes exceed limits\.memory/,
  );
});

test("tokens split between chunks are seen whole, in both bodies of a request", async () => {
  const lines = fc.array(fc.string({ unit: fc.constantFrom("a", "b", "ü") }), { maxLength: 6 });
  await fc.assert(
    fc.asyncProperty(lines, lines, fc.array(fc.nat(5), { maxLength: 12 }), async (up, down, sizes) => {
      const request = await guest.requestAsync();
      const bodies = { requestBody: "", responseBody: "" };
      const texts = { requestBody: Buffer.from(up.join("\n")), responseBody: Buffer.from(down.join("\n")) };
      const at = { requestBody: 0, responseBody: 0 };
      const pass = async (body: "requestBody" | "responseBody", size: number, last: boolean) => {
        const part = texts[body].subarray(at[body], at[body] + size);
        at[body] += size;
        bodies[body] += Buffer.from((await guest[`${body}Async`](part, { request, last })).bytes).toString("latin1");
      };
      for (const [i, size] of sizes.entries()) await pass(i % 2 === 0 ? "requestBody" : "responseBody", size, false);
      await pass("requestBody", texts.requestBody.length, true);
      await pass("responseBody", texts.responseBody.length, true);
      const turned = (list: readonly string[]) =>
        list.map((line) => Buffer.from(line).reverse().toString("latin1")).join("\n");
      assert.deepEqual(bodies, { requestBody: turned(up), responseBody: turned(down) });
    }),
    { numRuns: 100 },
  );
  await assert.rejects(
    guest.responseBodyAsync("x".repeat(70_000), { last: false }),
    /cannot keep bytes of a body: "70000": over the limit/,
  );
});

test("a value is loaded once, a failure is cached for a second, and a lost load is repeated", async () => {
  let [now, asked, ok] = [1_000_000, 0, true];
  const fetch = ({ url }: { url: string }) => {
    asked++;
    return ok ? { body: `profile of ${url.split("/").pop()}` } : { status: 503 };
  };
  const cache = await plugin(file, { allow, fetch, now: () => now });
  const user = async (name: string) => (await cache.requestAsync({ url: `/users/${name}` })).headers["x-user"];
  assert.deepEqual([await user("ann"), await user("ann"), asked], ["profile of ann", "profile of ann", 1]);
  ok = false;
  assert.deepEqual([await user("bob"), await user("bob"), asked], ["none", "none", 2]);
  ok = true;
  now += 1100;
  assert.deepEqual([await user("bob"), asked], ["profile of bob", 3]);
  // Of another worker: first a running one that completes, then one whose guest has failed.
  cache.kv("users").set("\0eve", "1", 5000);
  cache.kv("users").set("eve", "profile by another worker", 60_000);
  assert.deepEqual([await user("eve"), asked], ["profile by another worker", 3]);
  cache.kv("users").set("\0joe", "1", 400);
  assert.deepEqual([await user("joe"), asked], ["profile of joe", 4]);
  assert.deepEqual(
    cache
      .kv("users")
      .keys()
      .filter((key) => key.startsWith("\0")),
    ["\0eve"],
  );
});

test("a strategy can read the age of a latency", () => {
  guest.update([
    { address: "10.0.0.1:80", latency: 30, latencyAge: 5 },
    { address: "10.0.0.2:80", latency: 40, latencyAge: 45_000 },
    { address: "10.0.0.3:80" },
  ]);
  assert.equal(guest.pick().endpoint, "10.0.0.2:80");
});
