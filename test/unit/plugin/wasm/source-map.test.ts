import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { HOOK } from "../../../../src/abi/abi.ts";
import { compile, type Succeeded, writeModule } from "../../../../src/compiler/compile.ts";
import { PART } from "../../../../src/http/head.ts";
import { OUTCOME } from "../../../../src/plugin/host/host.ts";
import { buildModule, buildModuleAside } from "../../../../src/plugin/wasm/build.ts";
import { decodeSourceMap, describeStack, loadSourceMap, locate } from "../../../../src/plugin/wasm/source-map.ts";
import { makePlugin } from "../../../e2e/bad-plugins.ts";
import { countSteps } from "../../../support/steps.ts";
import { MEMORY, makeExchange, planOf, setPart, TestHost } from "../kit.ts";

const NONE = new Uint8Array(0);
const directory = mkdtempSync(join(tmpdir(), "sluice-map-"));
after(() => rmSync(directory, { recursive: true }));

/** Each failure is in its own line, in a function that is called from another. */
const SOURCE = `import { Request } from "sluice/sdk";

const limits = new StaticArray<i32>(2), kept: string[] = []; let name: string = "";

function divide(by: i32): i32 {
  return 100 / by;
}

// A trap of the engine, a trap of the library, and one that the author throws.
export function onRequest(req: Request): void {
  if (req.pathIs("/divide")) limits[0] = divide(limits[1]);
  if (req.pathIs("/outside")) limits[req.path.length] = 1;
  if (req.pathIs("/throw")) throw new Error("no");
  if (req.pathIs("/spin")) while (true) { limits[0]++; }
  if (req.pathIs("/sdk")) req.headers.set("connection", "x");
  if (req.pathIs("/once")) req.headers.add("te", "x");
  if (req.pathIs("/host")) while (true) req.headers.set("x-a", "b");
  if (req.pathIs("/kept")) kept.push(req.path);
  if (req.pathIs("/kept-name")) name = req.path;
  req.headers.set("x-seen", "1");
}
`;

async function build(): Promise<Succeeded> {
  const file = join(directory, "plugin.ts");
  writeFileSync(file, SOURCE);
  const compiled = await compile(file);
  assert.equal(compiled.problems, null);
  return compiled as Succeeded;
}

test("decodes segments: differences, segments without a place, and no line but the first", () => {
  const map = { version: 3, sources: ["a.ts", "b.ts"], sourceRoot: "src", mappings: "IAEC,KCFD,C,GAAA;AAAA" };
  const decoded = decodeSourceMap(JSON.stringify(map), NONE)!;
  assert.deepEqual(decoded.files, ["src/a.ts", "src/b.ts"]);
  assert.ok(decoded.table.buffer instanceof SharedArrayBuffer, "threads share it");
  const places: [offset: number, place: string | null][] = [
    [0, null],
    [3, null],
    [4, "src/a.ts:3:2"],
    [8, "src/a.ts:3:2"],
    [9, "src/b.ts:1:1"],
    [10, null],
    [12, null],
    [13, "src/b.ts:1:1"],
    [1_000_000, "src/b.ts:1:1"],
  ];
  for (const [offset, place] of places) assert.equal(locate(decoded, offset), place, String(offset));
});

test("an invalid source map is rejected, and the module then has none", async () => {
  const maps = [
    "no JSON",
    "{}",
    '{"version":2,"mappings":"","sources":[]}',
    '{"version":3,"mappings":"AAAA","sources":[]}',
    '{"version":3,"mappings":"A!","sources":[]}',
    '{"version":3,"mappings":"gggggggggggA","sources":["a"]}',
    '{"version":3,"mappings":"AADA","sources":["a"]}',
  ];
  const { wasm } = await build();
  const path = join(directory, "broken.wasm");
  for (const text of maps) {
    assert.throws(() => decodeSourceMap(text, NONE), text);
    writeFileSync(`${path}.map`, text);
    assert.equal(await loadSourceMap(path, wasm), null);
  }
});

test("the map of another build is not used", async () => {
  const { wasm, sourceMap } = await build();
  assert.notEqual(decodeSourceMap(sourceMap, wasm), null);
  assert.equal(decodeSourceMap(sourceMap, wasm.subarray(1)), null);
});

test("a map is found beside the module, under the name in the module, and within the module", async () => {
  const { wasm, sourceMap } = await build();
  const place = join(directory, "found.wasm");
  assert.equal(await loadSourceMap(place, wasm), null, "there is none yet");
  writeFileSync(join(directory, "plugin.wasm.map"), sourceMap);
  assert.notEqual(await loadSourceMap(place, wasm), null, "the module refers to plugin.wasm.map");
  rmSync(join(directory, "plugin.wasm.map"));
  writeFileSync(`${place}.map`, sourceMap);
  assert.notEqual(await loadSourceMap(place, wasm), null);
  rmSync(`${place}.map`);
  const map = JSON.parse(sourceMap);
  delete map.x_sluice_module;
  const url = `data:application/json;base64,${Buffer.from(JSON.stringify(map)).toString("base64")}`;
  const inline = withSection(await strip(wasm), "sourceMappingURL", url);
  assert.deepEqual((await loadSourceMap(place, inline))?.files, map.sources);
});

test("a stack starts with the author's frame and the thrown message", () => {
  const map = { files: ["plugin.ts", "~lib/sluice/sdk/abort.ts"], table: Uint32Array.of(10, 1, 7, 3, 20, 2, 9, 1) };
  const frame = (name: string, offset: number, start = offset) => ({ name, index: "3", start, offset });
  const abort = frame("~lib/sluice/sdk/abort/abort", 5);
  const inner = frame("plugin/inner", 5);
  const outer = frame("plugin/outer", 12);
  const reported = "inner (plugin.ts:4:2)\nouter (plugin.ts:7:3)";
  assert.equal(describeStack(map, [abort, inner, outer], "plugin.ts:4:2"), reported);
  // `abort` made part of who calls it: the map's word for that place is the SDK's.
  assert.equal(describeStack(map, [frame("plugin/inner", 22), outer], "plugin.ts:4:2"), reported);
  assert.equal(
    describeStack(map, [abort, frame("~lib/sluice/sdk/headers/Headers#set", 5), outer], ""),
    "outer (plugin.ts:7:3)",
  );
  // An exception of a library is reported at the author's last position before it, within the function.
  const lines = {
    files: [...map.files, "~lib/array.ts"],
    table: Uint32Array.of(10, 1, 7, 3, 20, 1, 8, 3, 30, 3, 9, 1),
  };
  for (const thrown of ["", "~lib/array.ts:9:9"]) {
    assert.equal(describeStack(lines, [abort, frame("plugin/outer", 35, 15)], thrown), "outer (plugin.ts:8:3)");
    const none = describeStack(lines, [abort, frame("plugin/outer", 35, 25)], thrown);
    assert.equal(none, `outer (${thrown || "~lib/array.ts:9:1"})`, "another function's place is none");
  }
  // An error of the host in a call of the SDK, or of the engine within it: the author's frames are first.
  const set = frame("~lib/sluice/sdk/headers/Headers#set", 22);
  const push = frame("~lib/array/Array<i32>#push", 35);
  assert.equal(
    describeStack(lines, [set, push, frame("plugin/outer", 12)], ""),
    "outer (plugin.ts:7:3)\nHeaders#set (plugin.ts:8:3)\nArray<i32>#push (~lib/array.ts:9:1)",
  );
  // An author's frame that the compiler knows no place for, or that a library's code became part of.
  const gap = { files: lines.files, table: Uint32Array.of(10, 1, 7, 3, 20, 0, 0, 0, 30, 3, 9, 1) };
  for (const offset of [25, 35])
    assert.equal(describeStack(gap, [frame("plugin/outer", offset, 5)], ""), "outer (plugin.ts:7:3)");
  assert.equal(describeStack(gap, [frame("plugin/outer", 25, 20)], ""), "outer function[3]+0x19");
  // A guest reports where it was thrown, and may report any text.
  assert.equal(describeStack(map, [abort, inner], "a\nb"), "inner function[3]+0x5");
  assert.equal(describeStack(null, [abort, inner], "plugin.ts:4:2"), "plugin/inner (plugin.ts:4:2)");
  assert.equal(describeStack(null, [frame("", 5)], ""), "function[3]+0x5");
});

test("the stack of a trap names the author's lines, and offsets without a map", async () => {
  const built = await build();
  const path = join(directory, "plugin.wasm");
  await writeModule(built, path);
  const mapped = await buildModuleAside(built.wasm, { memory: MEMORY, path });
  const cases: [path: string, line: RegExp][] = [
    ["/divide", /^.*\bplugin\.ts:6:10\)?$/m],
    ["/outside", /^.*\bplugin\.ts:12:31\)?$/m],
    // The compiler has no position for the call of `abort`; the thrown error has it.
    ["/throw", /^no \(plugin\.ts:13:29\)\n(?:request_head|onRequest) \(plugin\.ts:13:29\)$/m],
    // What the SDK throws begins at the line that called it, also where its code was made part of the hook.
    ["/once", /^cannot add header "te": .*\n(?:request_head|onRequest) \(plugin\.ts:16:\d+\)$/m],
    ["/sdk", /^cannot set header "connection": .*\n(?:request_head|onRequest) \(plugin\.ts:15:27\)$/m],
    ["/spin", /^.*\bplugin\.ts:14:\d+\)?$/m],
    // Failures of the host or the engine within the SDK, and of kept objects: the author's line is first.
    ["/host", /^.*\n(?:request_head|onRequest) \(plugin\.ts:17:\d+\)\n(?:.* \(~lib\/sluice\/.*\)(?:\n|$))+$/],
    ["/kept", /^an object created in this call was kept.*\n(?:request_head|onRequest) \(plugin\.ts:18:\d+\)(?:\n|$)/],
    ["/kept-name", /^an object created in this call was kept.*\n(?:request_head|onRequest) \(plugin\.ts:\d+:\d+\)$/],
  ];
  for (const [target, line] of cases) {
    const stack = failOn(mapped, target);
    assert.match(stack, line, `${target}: ${stack}`);
  }
  assert.match(failOn(buildModule(built.wasm, { memory: MEMORY }), "/divide"), /function\[\d+\]\+0x[0-9a-f]+/);
});

/** A module whose hook traps, and is called that. */
function trapNamed(name: string): Uint8Array {
  const wasm = makePlugin("request_head", "unreachable");
  const leb = (value: number): number[] => (value < 128 ? [value] : [(value & 127) | 128, ...leb(value >>> 7)]);
  const names = Buffer.concat([Buffer.from([1, 1, ...leb(Buffer.byteLength(name))]), Buffer.from(name)]);
  const content = Buffer.concat([Buffer.from("\x04name\x01"), Buffer.from(leb(names.length)), names]);
  return Buffer.concat([wasm, Buffer.from([0, ...leb(content.length)]), content]);
}

test("a metered module has only function names, short and without control characters", () => {
  const longest = `${"é".repeat(256)}`;
  for (const [name, kept] of [
    ["a\n    at b\x7f", "a?    at b?"],
    [`${"é".repeat(300)}`, longest],
    [`a${"é".repeat(300)}`, `a${"é".repeat(255)}`],
  ] as const) {
    const { module } = buildModule(trapNamed(name), { memory: MEMORY });
    const sections = WebAssembly.Module.customSections(module, "name").map((bytes) => Buffer.from(bytes));
    assert.deepEqual(
      sections.map((bytes) => bytes.subarray(-Buffer.byteLength(kept)).toString()),
      [kept],
    );
    assert.ok(sections[0]!.length < 530);
  }
  // What the engine would not read either.
  for (const broken of [
    Buffer.from("\x04name\x01\xff\xff\x03", "latin1"),
    Buffer.from("\x04name\x01\x05\x02\x00\x01a\x01\xff", "latin1"),
  ]) {
    const wasm = Buffer.concat([makePlugin("request_head", "unreachable"), Buffer.from([0, broken.length]), broken]);
    assert.match(failOn(buildModule(wasm, { memory: MEMORY }), "/"), /^unreachable\n/);
  }
});

test("the file names of a map are limited, since each worker gets a copy", () => {
  const long = "x".repeat(1024 * 1024);
  const sources = [...Array<string>(3000).fill("a"), long];
  const { files } = decodeSourceMap(JSON.stringify({ version: 3, mappings: "AAAA", sourceRoot: long, sources }), NONE)!;
  assert.ok(Math.max(...files.map(({ length }) => length)) <= 257);
  const short = decodeSourceMap(JSON.stringify({ version: 3, mappings: "", sourceRoot: "r", sources: [long] }), NONE)!;
  assert.equal(short.files[0], `r/${"x".repeat(255)}`);
  const many = JSON.stringify({ version: 3, mappings: "", sources: Array(100_001).fill("") });
  assert.throws(() => decodeSourceMap(many, NONE), /100001 sources/);
});

test("long names in a module and its map cost no time, and no log space", () => {
  // Fewer than the characters of a name: no loop and no regular expression may see all of it.
  const MOST_STEPS = 10_000;
  // As long as the engine accepts.
  const size = 90_000;
  for (const name of [
    "a".repeat(size),
    "\n".repeat(size),
    "a/".repeat(size / 2),
    "\x1b[2J",
    " (wasm://wasm/".repeat(size / 20),
  ]) {
    const sourceMap = { files: ["f".repeat(1_000_000)], table: Uint32Array.of(0, 1, 1, 1) };
    for (const module of [
      buildModule(trapNamed(name), { memory: MEMORY, sourceMap }),
      buildModule(trapNamed(name), { memory: MEMORY }),
    ]) {
      let stack = "";
      const steps = countSteps(() => {
        stack = failOn(module, "/");
      });
      assert.ok(steps < MOST_STEPS, `${steps} steps, ${JSON.stringify(name.slice(0, 5))}`);
      assert.ok(stack.length < 2000, `${stack.length} characters`);
      assert.match(stack, /^[^\p{Cc}]*\n?[^\p{Cc}]*$/u);
      if (name.startsWith("aa")) assert.match(stack, /\na{256}(…)? [f(]/);
    }
  }
});

function failOn(module: Awaited<ReturnType<typeof buildModuleAside>>, path: string): string {
  const host = new TestHost();
  const instance = host.prepare([module], [planOf()]).instances[0]!;
  const exchange = makeExchange();
  setPart(exchange.request, PART.path, path);
  assert.equal(instance.call(HOOK.request_head, exchange), OUTCOME.failed);
  const { message, fields } = host.lines.at(-1)!;
  return `${message.replace(/^.*?: /, "")}\n${fields.stack}`;
}

/** The module without the section that names its map. */
async function strip(wasm: Uint8Array): Promise<Uint8Array> {
  const name = Buffer.from("\x10sourceMappingURL", "latin1");
  const at = Buffer.from(wasm).indexOf(name);
  return wasm.subarray(0, at - 2);
}

function withSection(wasm: Uint8Array, name: string, text: string): Uint8Array {
  const leb = (value: number): number[] => (value < 128 ? [value] : [(value & 127) | 128, ...leb(value >>> 7)]);
  const content = Buffer.concat([
    Buffer.from(leb(name.length)),
    Buffer.from(name),
    Buffer.from(leb(text.length)),
    Buffer.from(text),
  ]);
  return Buffer.concat([wasm, Buffer.from([0, ...leb(content.length)]), content]);
}
