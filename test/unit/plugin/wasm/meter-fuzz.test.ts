/** The rewriter on generated modules: its output is valid, and behaves like its input. */

import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { EXPORT, FUEL, HOOKS } from "../../../../src/abi/abi.ts";
import { PRICE } from "../../../../src/abi/prices.ts";
import { nativeModule } from "../../../../src/plugin/abi/native/module.ts";
import { buildModule } from "../../../../src/plugin/wasm/build.ts";
import { PluginError } from "../../../../src/plugin/wasm/error.ts";
import { METER, type Metered, meterModule } from "../../../../src/plugin/wasm/meter.ts";
import { readShape } from "../../../../src/plugin/wasm/module-shape.ts";
import { CALLS, rolesOf } from "../host/script-guest.ts";
import { compileWat, instantiate, MEMORY } from "../kit.ts";
import { randomModule } from "./random-module.ts";

type Exports = WebAssembly.Exports & {
  readonly memory: WebAssembly.Memory;
  readonly table: WebAssembly.Table;
  readonly g: WebAssembly.Global;
  readonly run: (a: number, b: bigint) => unknown[];
  readonly again: () => void;
};

const numbers = fc.array(fc.nat(2 ** 16), { minLength: 30, maxLength: 3000, size: "max" });
const inputs = fc.array(fc.tuple(fc.integer(), fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n })), {
  minLength: 1,
  maxLength: 4,
});

const start = (code: Uint8Array | Metered): Exports => instantiate(code) as Exports;

function meter(bytes: Uint8Array): Metered {
  return meterModule(bytes, readShape(bytes), MEMORY, nativeModule.entryPoints(readShape(bytes), {}));
}

/** Results, or how it failed; and what is left behind. */
function play(exports: Exports, a: number, b: bigint): unknown {
  let ending: unknown;
  exports.again();
  try {
    ending = exports.run(a, b);
  } catch (error) {
    // An exception that was thrown by `throw` is not an Error.
    ending = error instanceof Error ? `${error.name}: ${error.message}` : "an exception";
  }
  const memory = Buffer.from(exports.memory.buffer.slice(0)).toString("base64");
  const table = Array.from({ length: exports.table.length }, (_, i) => exports.table.get(i) === null);
  return [ending, exports.g.value, memory, table];
}

test("a random module, metered, is valid and does the same", () => {
  const endings = { values: 0, failures: 0 };
  fc.assert(
    fc.property(numbers, inputs, (numbers, inputs) => {
      const bytes = compileWat(randomModule(numbers));
      assert.ok(WebAssembly.validate(new Uint8Array(bytes)), "the generator makes valid modules");
      const [plain, metered] = [start(bytes), start(meter(bytes))];
      const charge = metered[METER.charge] as (units: number) => number;
      for (const [a, b] of inputs) {
        charge(charge(0) - FUEL.start);
        const expected = play(plain, a, b);
        assert.deepEqual(play(metered, a, b), expected);
        assert.ok(charge(0) > 0 && charge(0) < FUEL.start, "it had enough fuel");
        endings[Array.isArray((expected as unknown[])[0]) ? "values" : "failures"]++;
      }
    }),
    { numRuns: 400 },
  );
  assert.ok(endings.values > 100 && endings.failures > 100, JSON.stringify(endings));
});

test("a random module with little fuel ends where that ends, or does the same", () => {
  fc.assert(
    fc.property(numbers, fc.integer({ min: PRICE.entry, max: 3000 }), (numbers, fuel) => {
      const bytes = compileWat(randomModule(numbers));
      const [plain, metered] = [start(bytes), start(meter(bytes))];
      const charge = metered[METER.charge] as (units: number) => number;
      metered.again();
      charge(charge(0) - fuel);
      const ending = play(metered, 5, 7n);
      if (charge(0) >= 0) assert.deepEqual(ending, play(plain, 5, 7n));
      else assert.equal((ending as unknown[])[0], "RuntimeError: unreachable");
    }),
    { numRuns: 200 },
  );
});

// ── What asc makes ──────────────────────────────────────────────────────────────────────────────────────────────────

const plugins = globSync(join(import.meta.dirname, "../../../../plugins/*.wasm")).sort();

/** A host that returns arbitrary results, the same each time, and records calls. */
class Echo {
  readonly asked: string[] = [];
  memory: WebAssembly.Memory | null = null;
  #state = 1;

  imports(): WebAssembly.Imports {
    const imports: WebAssembly.Imports = {};
    for (const call of CALLS) {
      const roles = rolesOf(call);
      (imports[call.group] ??= {})[call.name] = (...args: number[]) => {
        this.asked.push(`${call.name}(${args.join()})`);
        if (call.name === "abort") throw new Error("abort");
        this.#state = (Math.imul(this.#state, 0x41c64e6d) + 12_345 + args.length) | 0;
        const result = [0, 1, 3, 5, -1][(this.#state >>> 16) % 5]!;
        const out = roles.indexOf("out");
        if (out >= 0 && result > 0 && result <= args[out + 1]!)
          Buffer.from(this.memory!.buffer).fill("a1/b", args[out]!, args[out]! + result);
        return result;
      };
    }
    return imports;
  }
}

/** Start-up code and each hook, several times: how each ended, what was asked, what is in memory. */
function playPlugin(code: Uint8Array | Metered): unknown {
  const echo = new Echo();
  const exports = instantiate(code, echo.imports());
  echo.memory = exports[EXPORT.memory] as WebAssembly.Memory;
  const charge = exports[METER.charge] as ((units: number) => number) | undefined;
  const endings: string[] = [];
  const enter = (name: string, ...args: number[]) => {
    charge?.(charge(0) - FUEL.start);
    try {
      endings.push(`${name} ${(exports[name] as (...args: number[]) => number)(...args)}`);
    } catch (error) {
      endings.push(`${name} ${error}`);
    }
  };
  const first = [EXPORT.initialize, METER.start].find((name) => exports[name] !== undefined);
  if (first !== undefined) enter(first);
  for (let turn = 0; turn < 20; turn++) for (const hook of HOOKS) if (exports[hook] !== undefined) enter(hook, 1, turn);
  return [endings, echo.asked, Buffer.from(echo.memory.buffer).toString("base64")];
}

test("each built-in plugin, metered, makes the same host calls with the same results", () => {
  assert.ok(plugins.length > 5, "the plugins are built");
  for (const path of plugins) {
    const bytes = readFileSync(path);
    assert.deepEqual(playPlugin(meter(bytes)), playPlugin(bytes), basename(path));
  }
});

test("for any change of a module's bytes, it is rejected with a message, or the result is valid", () => {
  const originals = plugins.map((path) => readFileSync(path));
  const changes = fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 4 });
  const seen = { refused: 0, built: 0 };
  fc.assert(
    fc.property(fc.nat(originals.length - 1), changes, (which, changes) => {
      const bytes = new Uint8Array(originals[which]!);
      for (const [at, byte] of changes) bytes[at % bytes.length] = byte;
      try {
        buildModule(bytes, { memory: MEMORY });
        seen.built++;
      } catch (error) {
        assert.ok(error instanceof PluginError, String(error));
        seen.refused++;
      }
    }),
    { numRuns: 3000 },
  );
  assert.ok(seen.built > 100 && seen.refused > 100, JSON.stringify(seen));
});

// ── What the text format of the tests does not know ─────────────────────────────────────────────────────────────────

const HELPER = [0x20, 0, 0x41, 3, 0x6a];
const V128 = (byte: number): number[] => [0xfd, 12, ...Array<number>(16).fill(byte)];

/** A module whose `run: (i32) -> i32` is that code; its function 1 adds 3. Tag 0 has no values, table 0 is of externref. */
function assemble(code: readonly number[], types: readonly (readonly number[])[] = []): Uint8Array {
  const section = (id: number, content: readonly number[]) => [id, content.length, ...content];
  const text = (word: string) => [word.length, ...Buffer.from(word)];
  const body = (code: readonly number[]) => [code.length + 2, 0, ...code, 0x0b];
  return Uint8Array.from([
    ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, [2 + types.length, 0x60, 1, 0x7f, 1, 0x7f, 0x60, 0, 0, ...types.flat()]),
    ...section(3, [2, 0, 0]),
    ...section(4, [1, 0x6f, 0, 2]),
    ...section(5, [1, 0, 1]),
    ...section(13, [1, 0, 1]),
    ...section(7, [3, ...text("run"), 0, 0, ...text("add"), 0, 1, ...text("memory"), 2, 0]),
    ...section(10, [2, ...body(code), ...body(HELPER)]),
  ]);
}

const known: Record<string, readonly number[]> = {
  "try_table, catch_all": [0x02, 0x40, 0x1f, 0x40, 1, 2, 0, 0x08, 0, 0x0b, 0, 0x0b, 0x41, 7],
  "try_table, catch_all_ref, throw_ref": [
    ...[0x02, 0x40, 0x1f, 0x40, 1, 2, 0, 0x02, 0x69, 0x1f, 0x40, 1, 3, 0, 0x08, 0, 0x0b, 0, 0x0b, 0x0a, 0x0b, 0, 0x0b],
    ...[0x41, 9],
  ],
  "try_table, catch": [0x02, 0x40, 0x1f, 0x40, 1, 0, 0, 0, 0x08, 0, 0x0b, 0, 0x0b, 0x20, 0],
  call_ref: [0x20, 0, 0xd2, 1, 0x14, 0],
  return_call_ref: [0x20, 0, 0xd2, 1, 0x15, 0],
  "ref.as_non_null": [0x20, 0, 0xd2, 1, 0xd4, 0x14, 0],
  br_on_null: [0x02, 0x40, 0xd0, 0x70, 0xd5, 0, 0x1a, 0x41, 1, 0x0f, 0x0b, 0x41, 2],
  br_on_non_null: [0x02, 0x64, 0x70, 0xd2, 1, 0xd6, 0, 0x41, 1, 0x0f, 0x0b, 0x1a, 0x41, 2],
  "select with a type": [0x41, 5, 0x41, 6, 0x20, 0, 0x1c, 1, 0x7f],
  "tables of externref": [0x41, 0, 0x41, 1, 0x25, 0, 0x26, 0, 0x41, 0, 0x25, 0, 0xd1],
  "relaxed vectors": [...V128(3), ...V128(2), 0xfd, 0x80, 0x02, 0xfd, 21, 4],
  return_call: [0x20, 0, 0x12, 1],
  "a block of a reference to a type": [0x02, 0x63, 3, 0xd0, 3, 0x0b, 0xd1],
  rethrow: [0x06, 0x40, 0x06, 0x40, 0x08, 0, 0x19, 0x09, 0, 0x0b, 0x19, 0x0b, 0x41, 5],
  delegate: [0x06, 0x40, 0x06, 0x40, 0x08, 0, 0x18, 0, 0x19, 0x0b, 0x41, 6],
};

/** Types 2 and 3: the number of a type may be that of an instruction, as 3 is that of `loop`. */
const MORE = [
  [0x60, 0, 0],
  [0x60, 0, 0],
];

for (const [name, code] of Object.entries(known))
  test(`metering changes nothing: ${name}`, () => {
    const bytes = assemble(code, MORE);
    const [plain, metered] = [start(bytes), start(meter(bytes))] as unknown as {
      run: (n: number) => number;
    }[];
    for (const input of [0, 1, 40]) assert.equal(metered!.run(input), plain!.run(input));
  });

const refused: Record<string, Uint8Array> = {
  "a structure among the types": assemble([0x41, 0], [[0x5f, 0]]),
  "a recursive group among the types": assemble([0x41, 0], [[0x4e, 1, 0x60, 0, 0]]),
  "a subtype among the types": assemble([0x41, 0], [[0x50, 0, 0x60, 0, 0]]),
  "an instruction on references to numbers": assemble([0x20, 0, 0xfb, 0x1c, 0x1a, 0x41, 0]),
  "a comparison of references": assemble([0xd0, 0x6d, 0xd0, 0x6d, 0xd3]),
};

for (const [name, bytes] of Object.entries(refused))
  test(`garbage-collected types are rejected by name: ${name}`, () => {
    assert.ok(WebAssembly.validate(new Uint8Array(bytes)), "the engine knows it");
    assert.throws(() => meter(bytes), /^PluginError: garbage-collected types are not supported at offset 0x/);
  });
