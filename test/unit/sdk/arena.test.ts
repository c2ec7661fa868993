// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the strings are plugins
/**
 * The arena keeps objects of the start, zeroes the rest after each call, and stops a guest that stores a pointer beyond
 * its call.
 */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { HOOK } from "../../../src/abi/abi.ts";
import { OUTCOME } from "../../../src/plugin/host/host.ts";
import { call, compileSource, exchange, type Loaded, load } from "../../contract/plugin-harness.ts";

/** Each path of a request is one thing to try. */
const at = (path: string) => exchange(`GET /${path} HTTP/1.1\nHost: example.com\nX-Value: from-the-client`);

function plugin(top: string, cases: Readonly<Record<string, string>>): string {
  const branches = Object.entries(cases).map(([path, code]) => `if (req.pathIs("/${path}")) { ${code} }`);
  return `import { Request } from "sluice/sdk";
${top}
export function onRequest(req: Request): void {
  const value = req.headers.get("x-value")!;
  ${branches.join("\n  ")}
}`;
}

const RULE = /an object created in this call was kept; use StaticArray, the key-value store, or `runtime: gc`/;

const ESCAPES = {
  "a global": "word = value;",
  "a static field": "Box.last = value;",
  "a namespace's variable": "place.word = value;",
  "a kept object's field": "box.word = value;",
  "an element of a kept StaticArray": "slots[1] = value;",
  "an element of a kept array": "words[0] = value;",
  "growing a kept array": "words.push(value);",
  "growing a kept array of numbers": "for (let i = 0; i < 1000; i++) numbers.push(i);",
  "a new key in a kept Map": "lengths.set(value, 1);",
  "growing a kept Map of numbers": "for (let i = 0; i < 1000; i++) squares.set(i, i * i);",
  "a value in a kept Map": "byName.set(1, value);",
  "an element of a kept Set": "seen.add(value);",
  "an object that a kept object gets by a method": "box.remember(value);",
  "an array of new objects": "boxes = [new Box()];",
};

const HARMLESS = {
  "numbers in globals and kept arrays": "count++; totals[count & 7] += value.length; numbers[0] = 5;",
  "a kept object's number": "box.hits++;",
  "a kept string for a kept string": "word = other; box.word = other; slots[0] = 'literal';",
  "a known key of a kept Map of numbers": "squares.set(3, squares.get(3) + 1);",
  "taking from a kept array": "if (numbers.length > 1) numbers.pop();",
  "objects, arrays and Maps that end with the call":
    "const m = new Map<string, string[]>(); for (let i = 0; i < 50; i++) m.set(value + i.toString(), [value, `${i}`]);",
  "a template of many parts": "req.headers.set('x-out', `a${value}b${value}c${value.length}d`);",
  "a template in a template": "req.headers.set('x-out', `a${value}b${`x${value}y${value}z`}c`);",
  "sorting a kept array": "numbers.sort();",
};

const TOP = `
class Box { static last: string = ""; word: string = ""; hits: i32 = 0; remember(word: string): void { this.word = word; } }
namespace place { export let word: string = ""; }
let word: string = "", count: i32 = 0;
const other = "other", box = new Box(), slots = new StaticArray<string>(4), totals = new StaticArray<i32>(8);
const words: string[] = ["first"], numbers: i32[] = [3, 2, 1];
const lengths = new Map<string, i32>(), byName = new Map<i32, string>(), squares = new Map<i32, i32>(), seen = new Set<string>();
let boxes: Box[] = [];
squares.set(3, 9);
byName.set(1, "one");
`;

const named = (name: string) => name.replaceAll(/[^a-zA-Z]+/g, "-");
const cases = (from: Readonly<Record<string, string>>) =>
  Object.fromEntries(Object.entries(from).map(([name, code]) => [named(name), code]));
const wasm = await compileSource(plugin(TOP, cases({ ...ESCAPES, ...HARMLESS })));

function using(bytes: Uint8Array, run: (loaded: Loaded) => void, options = {}): void {
  const loaded = load(bytes, options);
  try {
    run(loaded);
  } finally {
    loaded.dispose();
  }
}

describe("an object stored beyond its call stops the guest in that call", () => {
  for (const name of Object.keys(ESCAPES)) {
    test(name, () =>
      using(wasm, (loaded) => {
        assert.equal(call(loaded, "request_head", at(named(name))), OUTCOME.failed);
        assert.match(loaded.reports.join("\n"), RULE);
      }),
    );
  }
});

describe("objects that stay in their call, and values without pointers, are allowed", () => {
  for (const name of Object.keys(HARMLESS)) {
    test(name, () =>
      using(wasm, (loaded) => {
        for (let i = 0; i < 3; i++)
          assert.equal(call(loaded, "request_head", at(named(name))), OUTCOME.continue, loaded.reports.join("\n"));
      }),
    );
  }
});

test("a call finds no bytes of the previous one, and memory does not grow", async () => {
  const bytes = await compileSource(
    plugin("let calls = 0;", {
      check: `
        calls++;
        const fresh = new ArrayBuffer(40000);
        for (let i: usize = 0; i < 40000; i++) if (load<u8>(changetype<usize>(fresh) + i)) throw new Error("dirty");
        memory.fill(changetype<usize>(fresh), 0xaa, 40000);
        const list: i32[] = [];
        for (let i = 0; i < 300; i++) list.push(-1);
        list.length = 4;
        for (let i = 0; i < 300; i++) list.push(i);
        list.length = 800;
        for (let i = 304; i < 800; i++) if (list[i]) throw new Error("dirty growth");
        const text = new StaticArray<u8>(200);
        for (let i = 0; i < 200; i++) { if (text[i]) throw new Error("dirty array"); text[i] = 0xff; }`,
    }),
  );
  using(
    bytes,
    (loaded) => {
      for (let i = 0; i < 500; i++)
        assert.equal(call(loaded, "request_head", at("check")), OUTCOME.continue, loaded.reports.join("\n"));
    },
    { memory: 4 * 65536 },
  );
});

test("state from start-up code and configure persists in a plugin that serves many", async () => {
  const bytes = await compileSource(`import { Config, PerInstance, Request } from "sluice/sdk";
export const servesMany = true;
class Rules { words: string[] = []; }
const rules = new PerInstance<Rules>();
export function configure(): void {
  const made = new Rules();
  for (let i = 0; i < 100; i++) made.words.push(Config.string("word") + i.toString());
  rules.set(made);
}
export function onRequest(req: Request): void {
  const junk: string[] = [];
  for (let i = 0; i < 100; i++) junk.push("junk" + i.toString());
  req.headers.set("x-word", rules.get().words[99]);
}`);
  const configs = Array.from({ length: 50 }, (_, i) => ({ word: `w${i}-` }));
  using(
    bytes,
    (loaded) => {
      for (let turn = 0; turn < 3; turn++) {
        for (const [i, instance] of loaded.instances.entries()) {
          const on = at("any");
          assert.equal(instance.call(HOOK.request_head, on), OUTCOME.continue, loaded.reports.join("\n"));
          assert.equal(on.request.get("x-word"), `w${i}-99`);
        }
      }
    },
    { configs },
  );
});

const GROWING = plugin("const words = new Map<string, i32>(); let last: string = '';", {
  grow: `
    last = value + words.size.toString();
    words.set(last, words.size);
    const junk: string[] = [];
    for (let i = 0; i < 100; i++) junk.push(value + i.toString());
    req.headers.set("x-size", words.size.toString());`,
});

test("with the collector, a Map in a global may grow, and garbage is collected", async () => {
  for (const bytes of [await compileSource(GROWING, "gc"), await compileSource(`// runtime: gc\n${GROWING}`)]) {
    using(
      bytes,
      (loaded) => {
        for (let i = 1; i <= 1000; i++) {
          const on = at("grow");
          assert.equal(call(loaded, "request_head", on), OUTCOME.continue, loaded.reports.join("\n"));
          assert.equal(on.request.get("x-size"), String(i));
        }
      },
      { memory: 16 * 65536 },
    );
  }
});

test("an exception is reported with the author's file, line and column", async () => {
  const bytes = await compileSource(`import { Request } from "sluice/sdk";
export function onRequest(req: Request): void {
  throw new Error("no – " + req.path);
}`);
  using(bytes, (loaded) => {
    assert.equal(call(loaded, "request_head", at("here")), OUTCOME.failed);
    assert.match(loaded.reports[0]!, /failed in request_head: no – \/here \(plugin\.ts:3:3\)/);
  });
});

test("a plugin that exceeds its memory is stopped", async () => {
  const bytes = await compileSource(plugin("", { big: "new ArrayBuffer(10000000);" }));
  using(
    bytes,
    (loaded) => {
      assert.equal(call(loaded, "request_head", at("big")), OUTCOME.failed);
      assert.match(loaded.reports[0]!, /memory/);
    },
    { memory: 16 * 65536 },
  );
});
