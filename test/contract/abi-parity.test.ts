/** The SDK restates the ABI in AssemblyScript: every import and every number must be the host's. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import * as abi from "../../src/abi/abi.ts";
import { CONFIG_KIND } from "../../src/plugin/abi/native/calls-config.ts";

const SDK = join(import.meta.dirname, "../../sdk");
const read = (name: string) => readFileSync(join(SDK, name), "utf8");

/** AssemblyScript's types on the border are WebAssembly's, where memory has 32 bits. */
const VALUE_TYPE: Readonly<Record<string, string | null>> = { i32: "i32", usize: "i32", f64: "f64", void: null };

test("the SDK declares the host's imports, each with its signature, and no other", () => {
  const declaration = /@external\("([^"]+)", "([^"]+)"\)\nexport declare function \w+\(([^)]*)\): (\w+);/g;
  const text = read("imports.ts");
  const declared = [...text.matchAll(declaration)].map(([, group, name, params, result]) => ({
    import: `${group} ${name}`,
    params: params!
      .split(", ")
      .filter(Boolean)
      .map((param) => VALUE_TYPE[param.split(": ")[1]!]),
    result: VALUE_TYPE[result!],
  }));
  assert.equal(declared.length, text.match(/declare function/g)?.length, "a declaration was not understood");
  const host = Object.entries(abi.IMPORTS).flatMap(([group, calls]) =>
    Object.entries(calls as Record<string, abi.Import>).map(([name, { params, result }]) => ({
      import: `${group} ${name}`,
      params: [...params],
      result,
    })),
  );
  const byName = (a: { import: string }, b: { import: string }) => (a.import < b.import ? -1 : 1);
  assert.deepEqual(declared.sort(byName), host.sort(byName));
});

test("the SDK's numbers are the host's", () => {
  const groups: Record<string, Record<string, number>> = {};
  for (const [, name, body] of read("abi.ts").matchAll(/export namespace (\w+) \{([^}]*)\}/g)) {
    const members = [...body!.matchAll(/export const (\w+): i32 = (-?\d+);/g)];
    assert.equal(members.length, body!.match(/const/g)?.length, `${name}: a constant was not understood`);
    // A word that AssemblyScript reserves has an underscore behind it.
    groups[name!] = Object.fromEntries(members.map(([, key, value]) => [key!.replace(/_$/, ""), Number(value)]));
  }
  const { RESULT, STATUS, HEADERS, ATTRIBUTE, COLUMN, ENDPOINT_TEXT, ATTEMPT, LEVEL, METRIC, DIGEST, SIGNATURE } = abi;
  assert.deepEqual(groups, {
    RESULT,
    STATUS,
    HEADERS,
    ATTRIBUTE,
    COLUMN,
    ENDPOINT_TEXT,
    ATTEMPT,
    LEVEL,
    METRIC,
    DIGEST,
    SIGNATURE,
    KIND: CONFIG_KIND,
  });
  assert.match(read("abi.ts"), new RegExp(`ABI_VERSION: i32 = ${abi.ABI_VERSION};`));
});

test("the transform accepts every hook of the ABI, and no other", () => {
  const known = [...read("transform.js").matchAll(/abi: "(\w+)"/g)].map(([, name]) => name!);
  assert.deepEqual(known.sort(), [...abi.HOOKS].sort());
});
