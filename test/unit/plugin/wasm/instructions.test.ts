import assert from "node:assert/strict";
import { test } from "node:test";
import { Reader } from "../../../../src/plugin/wasm/binary.ts";
import { skipImmediates } from "../../../../src/plugin/wasm/instructions.ts";

/** After the instruction there are only zeros. */
function skip(...bytes: number[]): number {
  const reader = new Reader(Uint8Array.from([...bytes, ...new Array<number>(40).fill(0)]));
  return skipImmediates(reader, reader.u8());
}

test("an unknown instruction is rejected with its number and its position", () => {
  const unknown = Array.from({ length: 256 }, (_, opcode) => opcode).filter((opcode) => {
    try {
      skip(opcode);
      return false;
    } catch (error) {
      const number = opcode.toString(16);
      const known = opcode === 0xfb || opcode === 0xd3;
      const what = known ? "garbage-collected types are not supported" : `unknown instruction 0x${number}`;
      assert.equal(String(error), `PluginError: ${what} at offset 0x0`);
      return true;
    }
  });
  // Those that no proposal which engines have taken up has given a meaning, and the garbage collector's.
  const holes: [from: number, to: number][] = [
    [0x16, 0x17],
    [0x1d, 0x1e],
    [0x27, 0x27],
    [0xc5, 0xcf],
    [0xd3, 0xd3],
    [0xd7, 0xfb],
    [0xff, 0xff],
  ];
  assert.deepEqual(
    unknown,
    holes.flatMap(([from, to]) => Array.from({ length: to - from + 1 }, (_, i) => from + i)),
  );
  for (const [prefix, last] of [
    [0xfc, 17],
    [0xfd, 0x113],
    [0xfe, 0x4e],
  ] as const) {
    const leb = (value: number) => [(value & 127) | 128, value >> 7];
    skip(prefix, ...leb(last));
    const problem = new RegExp(`^PluginError: unknown instruction 0x${prefix.toString(16)} ${last + 1} at offset 0x0$`);
    assert.throws(() => skip(prefix, ...leb(last + 1)), problem);
  }
});
