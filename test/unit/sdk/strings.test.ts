/** The SDK's own string functions, called by name through the AssemblyScript loader. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { test } from "node:test";
import { instantiate } from "@assemblyscript/loader";
import { main } from "assemblyscript/asc";
import fc from "fast-check";

type Convert = (text: number) => number;
type Compare = (bytes: number, text: number) => number;

async function load() {
  const directory = join(import.meta.dirname, "../../fixtures");
  let wasm: Uint8Array | undefined;
  const flags = ["--outFile", "a.wasm", "--exportRuntime", "--enable", "simd", "-O2", "--baseDir", directory];
  const { error, stderr } = await main(["sdk-strings.as.ts", ...flags], {
    readFile: (name, base) => readFile(resolve(base, name), "utf8").catch(() => null),
    writeFile: (name, contents) => {
      if (name === "a.wasm") wasm = contents as Uint8Array;
    },
    listFiles: () => [],
  });
  assert.equal(error, null, String(stderr));
  const { exports } = await instantiate(wasm!);
  const convert = (name: string) => (text: string) =>
    exports.__getString((exports[name] as Convert)(exports.__newString(text)));
  const compare = (name: string) => (bytes: string, text: string) => {
    const pinned = exports.__pin(exports.__newString(bytes));
    const answer = (exports[name] as Compare)(pinned, exports.__newString(text)) !== 0;
    exports.__unpin(pinned);
    return answer;
  };
  return { convert, compare };
}

const loaded = load();
const latin1 = fc
  .array(fc.integer({ min: 0, max: 255 }), { maxLength: 70 })
  .map((codes) => String.fromCharCode(...codes));

test("header bytes and strings map one to one, at every length around a vector's", async () => {
  const throughBytes = (await loaded).convert("throughBytes");
  fc.assert(fc.property(latin1, (text) => assert.equal(throughBytes(text), text)));
  assert.throws(() => throughBytes("naïve ☃"), /abort|U\+00FF/);
  assert.throws(() => throughBytes("12345678☃"), /abort|U\+00FF/);
});

test("texts go through UTF-8 unchanged", async () => {
  const throughUtf8 = (await loaded).convert("throughUtf8");
  fc.assert(fc.property(fc.string({ unit: "binary", maxLength: 60 }), (text) => assert.equal(throughUtf8(text), text)));
});

test("bytes compare with strings as strings do", async () => {
  const { compare } = await loaded;
  const [bytesEqual, bytesStartWith] = [compare("bytesEqual"), compare("bytesStartWith")];
  fc.assert(
    fc.property(latin1, latin1, fc.nat(70), (a, b, cut) => {
      assert.equal(bytesEqual(a, b), a === b);
      assert.equal(bytesEqual(a, a), true);
      assert.equal(bytesStartWith(a, a.slice(0, cut)), true);
      assert.equal(bytesStartWith(a, b), a.startsWith(b));
    }),
  );
});
