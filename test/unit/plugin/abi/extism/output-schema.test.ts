/** Parsed outputs of Extism hooks are cached by their bytes. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Outputs } from "../../../../../src/plugin/abi/extism/output-schema.ts";

const json = (name: string, value: string) => `{"headers":{"set":{"${name}":"${value}"}}}`;

test("outputs of the same length are not confused, and each is parsed once while it is cached", () => {
  const outputs = new Outputs("request");
  // The guest's memory: each output overwrites the previous one.
  const memory = Buffer.alloc(100);
  const parse = (text: string) => outputs.parse(memory, 7, 7 + memory.write(text, 7));
  const set = (name: string, value: string) => parse(json(name, value)).headers!.set as Record<string, string>;

  for (const [name, value] of [...["aa", "ab", "ba", "a"].map((text) => ["x-n", text]), ["y-n", "aa"]])
    for (let turn = 0; turn < 2; turn++) assert.equal(set(name!, value!)[name!], value);
  assert.equal(set("x-n", "ab"), set("x-n", "ab"));
  for (let i = 10; i < 60; i++) assert.equal(set("x-n", String(i))["x-n"], String(i));
  assert.equal(set("x-n", "ab")["x-n"], "ab");
  assert.throws(() => parse(json("x-n", "ab").replace("headers", "header:")), /unknown key "header:"/);
});
