/** sdk/c/sluice.h matches the ABI: every hook, host call and number. That it compiles to it is test/e2e/c-plugin. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { makeHeader } from "../../scripts/build-c-header.ts";
import * as abi from "../../src/abi/abi.ts";

const header = readFileSync(new URL("../../sdk/c/sluice.h", import.meta.url), "utf8");

test("sdk/c/sluice.h is generated from src/abi/abi.ts (node scripts/build-c-header.ts)", () => {
  assert.equal(header, makeHeader());
});

test("every hook and every host call is declared once, with its types", () => {
  const hooks = Array.from(header.matchAll(/^#define SLUICE_ON_\w+\(.*SLUICE_HOOK\("(\w+)", sluice_on_\1,/gm));
  assert.deepEqual(
    hooks.map(([, name]) => name),
    [...abi.HOOKS],
  );
  const declared = Array.from(
    header.matchAll(/^SLUICE_IMPORT\("(.+)", "(\w+)"\)\n(\w+) sluice_\w+\((.*)\);$/gm),
    ([, module, name, result, list]) => {
      const types = list === "void" ? [] : list!.split(", ").map((one) => one.replace(/ ?\w+$/, ""));
      return [module, name, result, ...types.map((type) => (/\*$/.test(type) ? "int32_t" : type))].join(" ");
    },
  );
  const names = { i32: "int32_t", f64: "double" } as const;
  const expected = Object.entries(abi.IMPORTS).flatMap(([module, calls]) =>
    Object.entries(calls as Record<string, abi.Import>).map(([name, { params, result }]) =>
      [module, name, result === null ? "void" : names[result], ...params.map((type) => names[type])].join(" "),
    ),
  );
  assert.deepEqual(declared, expected);
  const symbols = Array.from(header.matchAll(/^\w+ (sluice_\w+)\(.*\);$/gm), ([, symbol]) => symbol);
  assert.equal(new Set(symbols).size, symbols.length);
});

test("it has every number, and no name twice", () => {
  const numbers = new Map(
    Array.from(header.matchAll(/^ {2}(SLUICE_\w+) = (-?\d+),$/gm), ([, name, value]) => [name!, Number(value)]),
  );
  let count = 0;
  const { RESULT, STATUS, HEADERS, ATTRIBUTE, COLUMN, ENDPOINT_TEXT, ATTEMPT } = abi;
  for (const [group, values] of Object.entries({ RESULT, STATUS, HEADERS, ATTRIBUTE, COLUMN, ENDPOINT_TEXT, ATTEMPT }))
    for (const [name, value] of Object.entries(values)) {
      const snake = name.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase();
      assert.equal(numbers.get(`SLUICE_${group}_${snake}`), value, name);
      count++;
    }
  assert.ok(numbers.size > count);
  assert.equal(numbers.size, header.match(/^ {2}SLUICE_\w+ = /gm)!.length);
});
