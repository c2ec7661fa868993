/** Valid modules that are too expensive to build are rejected with the reason; those within the limits are built. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { LIMIT } from "../../src/abi/abi.ts";
import { SECTION, TYPE } from "../../src/plugin/wasm/binary.ts";
import { buildModule } from "../../src/plugin/wasm/build.ts";
import { PluginError } from "../../src/plugin/wasm/error.ts";
import { OP } from "../../src/plugin/wasm/instructions.ts";
import { aboveStack, type Bomb, body, bytes, list, makeBomb, nested, repeat } from "../fixtures/bombs.ts";

const MEMORY = 16 * 1024 * 1024;
const DROP = 0x1a;
const NOP = 0x01;
/** The type without parameters and results. */
const NO_TYPE = 3;
const nothing = body(0, () => {});
/** `count` entries that are all alike. */
const many = (count: number, ...entry: number[]) => list(Array.from({ length: count }), bytes(...entry));

const refused: [name: string, bomb: Bomb, problem: RegExp][] = [
  ["many locals", { functions: [nothing, body(49_000, nested(8000))] }, /^function 3 has 49000 locals, at most 16384$/],
  [
    "locals in many groups",
    {
      functions: [
        (writer) => {
          list(Array.from({ length: 20_000 }), bytes(1, TYPE.i32))(writer);
          writer.u8(OP.end);
        },
      ],
    },
    /^function 2 has 20000 locals, at most 16384$/,
  ],
  [
    "locals at each block",
    { functions: [body(10_000, nested(8000))] },
    /^function 2 has \d+ values to merge \(locals and stack, at each block and branch\), at most 25165824$/,
  ],
  [
    "locals at each branch",
    { functions: [body(1000, repeat(100_000, OP.localGet, 0, OP.brIf, 0))] },
    /^function 2 has 100001000 values to merge/,
  ],
  [
    "a deep stack at each block",
    { functions: [body(0, aboveStack(30_000, 8000))] },
    /^function 2 has \d+ values to merge/,
  ],
  [
    "what a call leaves on the stack at each block",
    {
      functions: [
        body(0, (writer) => {
          repeat(200, OP.call, 3)(writer);
          repeat(10_000, OP.block, 0x40, OP.end)(writer);
          repeat(200_000, DROP)(writer);
        }),
        (writer) => {
          writer.u8(0);
          repeat(1000, OP.i32Const, 0)(writer);
          writer.u8(OP.end);
        },
      ],
      types: [[0, 1000]],
      sections: { [SECTION.function]: bytes(4, 0, 1, 3, 4) },
    },
    /^function 2 has \d+ values to merge/,
  ],
  ["deep nesting", { functions: [body(1, nested(20_000))] }, /^function 2 has 20001 nested blocks, at most 16384$/],
  ["many imports", { sleeps: 60_000 }, /^60000 imports are declared, the limit is 1000$/],
  [
    "many types",
    { types: Array.from({ length: 10_000 }, (): [number, number] => [0, 0]) },
    /^10004 types are declared, the limit is 10000$/,
  ],
  [
    "many functions",
    { functions: Array.from({ length: 100_000 }, () => nothing) },
    /^100002 functions are declared, the limit is 100000$/,
  ],
  [
    "many globals",
    { sections: { [SECTION.global]: many(20_001, TYPE.i32, 0, OP.i32Const, 0, OP.end) } },
    /^20001 globals are declared, the limit is 20000$/,
  ],
  [
    "many tags",
    { sections: { [SECTION.tag]: many(LIMIT.tags + 1, 0, NO_TYPE) } },
    new RegExp(`^${LIMIT.tags + 1} tags are declared, the limit is ${LIMIT.tags}$`),
  ],
  [
    "many exports",
    {
      sections: {
        [SECTION.export]: list(Array.from({ length: 20_001 }), (writer, _, i) => {
          writer.name(["memory", "sluice_abi", "request_head"][i] ?? String(i));
          bytes(i === 0 ? 2 : 0, i === 0 ? 0 : i === 1 ? 0 : 1)(writer);
        }),
      },
    },
    /^20001 exports are declared, the limit is 20000$/,
  ],
  [
    "many entries of tables",
    {
      sections: {
        [SECTION.table]: bytes(1, 0x70, 0, 0x80, 0x80, 8),
        [SECTION.element]: list(Array.from({ length: 10 }), (writer) => {
          bytes(0, OP.i32Const, 0, OP.end)(writer);
          many(120_000, 0)(writer);
        }),
      },
    },
    /^1200000 table elements are declared, the limit is 200000$/,
  ],
  [
    "many custom sections",
    { custom: Array.from({ length: 1001 }, () => bytes(1, 0x61)) },
    /^1001 custom sections are declared, the limit is 1000$/,
  ],
];

for (const [name, bomb, problem] of refused) {
  test(`a module is refused: ${name}`, () => {
    const wasm = makeBomb(bomb);
    assert.ok(WebAssembly.validate(new Uint8Array(wasm)), "it is valid");
    assert.throws(
      () => buildModule(wasm, { memory: MEMORY }),
      (error) => error instanceof PluginError && problem.test(error.message),
    );
  });
}

const sleeps = (count: number) =>
  body(0, (writer) => {
    for (let i = 0; i < count; i++) {
      bytes(OP.i32Const, 0, OP.call)(writer);
      writer.u32(i % 1000);
      writer.u8(DROP);
    }
  });

const built: [name: string, bomb: Bomb][] = [
  [
    "many calls of many imports that wait",
    { sleeps: 1000, functions: Array.from({ length: 6 }, () => sleeps(50_000)) },
  ],
  ["many blocks behind each other", { functions: [body(30, repeat(200_000, OP.block, 0x40, OP.end))] }],
  ["blocks as deep as Go makes them", { functions: [body(20, nested(5000))] }],
  ["as many locals as compilers make that do not optimise", { functions: [body(8000, nested(500))] }],
  ["many functions", { functions: Array.from({ length: 90_000 }, () => nothing) }],
];

for (const [name, bomb] of built) {
  test(`a module is built: ${name}`, () => {
    assert.equal(buildModule(makeBomb(bomb), { memory: MEMORY }).info.hooks, 1 << 1);
  });
}

test("a module with a function that is costly to optimise stays with baseline code", () => {
  const loops = (depth: number) =>
    body(0, (writer) => {
      repeat(depth, OP.loop, 0x40)(writer);
      repeat(depth, OP.end)(writer);
    });
  const reasons: [bomb: Bomb, reason: RegExp | null][] = [
    [{ functions: [body(0, repeat(270_000, NOP))] }, /^function 2 has \d+ bytes of code, above 262144$/],
    [{ functions: [body(8000, nested(500))] }, /^function 2 has \d+ values to merge, above 2097152$/],
    [
      { functions: [nothing, loops(100)] },
      /^function 3 has 5050 loops, each counted with those around it, above 4096$/,
    ],
    [{ functions: [body(0, repeat(200_000, NOP)), body(100, nested(500)), loops(80)] }, null],
  ];
  for (const [bomb, reason] of reasons) {
    const { unoptimised } = buildModule(makeBomb(bomb), { memory: MEMORY }).info;
    if (reason === null) assert.equal(unoptimised, null);
    else assert.match(unoptimised ?? "optimised", reason);
  }
});
