/** Code that takes as long as it can for what it pays, for each class of the price list (`abi/prices.ts`). */

export type Mix = {
  readonly name: string;
  /** A module in text that exports `run: (i32) -> i32`, whose argument is a number of turns. */
  readonly text: string;
  /** Turns at least: fewer find all that they need in a cache. */
  readonly turns?: number;
  /** Laid into memory before it runs. */
  readonly fill?: (memory: DataView) => void;
  /** It takes long only the first time that a guest does it: a new guest for each run, with this argument. */
  readonly once?: number;
};

const PAGES = 256;
const MEMORY = PAGES * 65_536;
const repeat = (text: string, times = 64): string => `${text} `.repeat(times);
const list = (count: number, make: (index: number) => string): string =>
  Array.from({ length: count }, (_, i) => make(i)).join(" ");

const HEAD = `(memory (export "memory") ${PAGES}) (table $t 8192 131072 funcref) (table $x 8192 externref)
  (elem $e func ${repeat("$nop")}) (elem $e2 func $nop) (elem (table $t) (i32.const 0) func $nop $nop)
  (data $d "${"x".repeat(64)}") (tag $tag) (global $g (mut i32) (i32.const 0)) (global $r (mut funcref) (ref.null func))
  (func $nop) (func $id (param i32) (result i32) (i32.add (local.get 0) (i32.const 1))) (func $throw (throw $tag))`;
const LOCALS = `(local $i i32) (local $p i32) (local $z i32) (local $three i32) (local $q i64) (local $one i64) (local $f f32)
  (local $d f64) (local $e f64) (local $small f64) (local $v v128)`;
const BEGIN = `(local.set $three (i32.const 3)) (local.set $q (i64.const 0x7fffffffffffffff)) (local.set $one (i64.const 1))
  (local.set $f (f32.const 1e30)) (local.set $d (f64.const 1.7e300)) (local.set $e (f64.const 1.0000001))
  (local.set $small (f64.const 0x1p-1073)) (local.set $v (v128.const i32x4 0x12345678 0x456 0x8999 0x77777777))
  (local.set $i (local.get 0))`;
/** Or what was computed would not be. */
const END = `(i32.store (i32.const 128) (local.get $z)) (i64.store (i32.const 136) (local.get $q)) (f32.store (i32.const 144)
  (local.get $f)) (f64.store (i32.const 152) (local.get $d)) (f64.store (i32.const 160) (local.get $small)) (v128.store (i32.const 176) (local.get $v))`;

/** A loop of that code. */
const loop = (body: string): string =>
  `(module ${HEAD} (func (export "run") (param i32) (result i32) ${LOCALS} ${BEGIN}
    (loop $l ${body} (br_if $l (local.tee $i (i32.sub (local.get $i) (i32.const 1))))) ${END} (local.get $p)))`;

/** 64 instructions, each on what the one before has made, in a local of that name. */
const chain = (local: string, ...code: string[]): string =>
  loop(`local.get $${local} ${repeat(code.join(" "))} local.set $${local}`);

/** Some number; then as an address, a multiple of 64. */
const NEXT = "(local.tee $p (i32.add (i32.mul (local.get $p) (i32.const 1664525)) (i32.const 1013904223)))";
const ANYWHERE = `(i32.and ${NEXT} (i32.const 0xffffc0))`;

const arithmetic: Record<string, string> = {
  "nothing: the turn of a loop": loop(""),
  "i32.clz": chain("p", "i32.clz"),
  "i32.eqz": chain("p", "i32.eqz"),
  "i64.mul": chain("q", "local.get $q", "i64.mul"),
  "i64.div_s": chain("q", "local.get $one", "i64.div_s"),
  "i64.div_u": chain("q", "local.get $one", "i64.div_u"),
  "i32.rem_u": chain("p", "local.get $three", "i32.rem_u"),
  "f64.sqrt": chain("d", "f64.sqrt"),
  "f32.sqrt": chain("f", "f32.sqrt"),
  "f64.div": chain("d", "local.get $e", "f64.div"),
  "f64.mul of subnormal numbers": chain("small", "local.get $e", "f64.mul"),
  "f64.min": chain("d", "local.get $e", "f64.min"),
  "f64.nearest": chain("d", "f64.nearest"),
  "f32.demote_f64": chain("d", "f32.demote_f64", "f64.promote_f32"),
  "f64.reinterpret_i64": chain("q", "f64.reinterpret_i64", "i64.reinterpret_f64"),
  "i64.trunc_sat_f64_u": chain("q", "f64.convert_i64_u", "i64.trunc_sat_f64_u"),
  "f64x2.sqrt": chain("v", "f64x2.sqrt"),
  "i64x2.mul": chain("v", "local.get $v", "i64x2.mul"),
  "i8x16.popcnt": chain("v", "i8x16.popcnt"),
  "i32x4.trunc_sat_f32x4_u": chain("v", "i32x4.trunc_sat_f32x4_u"),
  "branches at random": loop(
    repeat(`(block (br_if 0 (i32.lt_s ${NEXT} (i32.const 0))) (local.set $z (local.get $p)))`),
  ),
  "jump tables at random": loop(repeat(`(block (block (block (br_table 0 1 2 (i32.shr_u ${NEXT} (i32.const 30))))))`)),
};

const memory: Record<string, string> = {
  "a store and a fence": loop(repeat(`(i32.store ${ANYWHERE} (local.get $p)) atomic.fence`)),
  "atomic.fence": loop(repeat("atomic.fence")),
  "stores anywhere": loop(repeat(`(i32.store ${ANYWHERE} (local.get $p))`)),
  "atomics anywhere": loop(repeat(`(drop (i32.atomic.rmw.add ${ANYWHERE} (local.get $p)))`)),
  "memory.atomic.notify": loop(repeat("(drop (memory.atomic.notify (i32.const 64) (i32.const 1)))")),
  "memory.copy of 63 bytes anywhere": loop(repeat(`(memory.copy ${ANYWHERE} (i32.const 0) (i32.const 63))`)),
  "memory.copy of nothing": loop(repeat("(memory.copy (i32.const 1) (i32.const 0) (i32.const 0))")),
  "memory.copy of 8 MB": loop("(memory.copy (i32.const 0) (i32.const 8000000) (i32.const 8000000))"),
  "memory.fill of 16 MB": loop("(memory.fill (i32.const 0) (i32.const 0) (i32.const 16000000))"),
  "memory.init": loop(repeat("(memory.init $d (i32.const 1) (i32.const 0) (i32.const 63))")),
  "data.drop": loop(repeat("data.drop $d")),
  "elem.drop": loop(repeat("elem.drop $e2")),
  "global.set of a reference": loop(repeat("(global.set $r (ref.func $nop))")),
};

/** Of 0, 1, 63 and 4,000 entries. */
const bulk = (operation: (entries: number) => string): readonly string[] =>
  [0, 1, 63, 4000].map((n) => loop(repeat(operation(n), 8)));
const tables: Record<string, readonly string[]> = {
  "table.copy": bulk((n) => `(table.copy $t $t (i32.const 1) (i32.const 0) (i32.const ${n}))`),
  "table.fill": bulk((n) => `(table.fill $t (i32.const 1) (ref.func $nop) (i32.const ${n}))`),
  "table.init": bulk((n) => `(table.init $t $e (i32.const 1) (i32.const 0) (i32.const ${Math.min(n, 64)}))`),
  "table.copy, externref": bulk((n) => `(table.copy $x $x (i32.const 1) (i32.const 0) (i32.const ${n}))`),
  "table.grow by nothing": [loop(repeat("(drop (table.grow $t (ref.null func) (i32.const 0)))"))],
  "table.set": [loop(repeat("(table.set $t (i32.const 1) (ref.func $nop))"))],
  "table.get": [loop(repeat("(drop (table.get $t (i32.const 1)))"))],
};

/** As many as there may be of these. */
const FUNCTIONS = 60_000;
const functions = list(FUNCTIONS, () => "(func)");
const names = list(FUNCTIONS, (i) => String(i + 1));
const one = (before: string, run: string, after = ""): string =>
  `(module (memory (export "memory") 1 256) ${before} (func (export "run") (param i32) (result i32) (local $i i32) (local $p i32) ${run} i32.const 0) ${after})`;
const upTo = (body: string, end = "(local.get 0)"): string =>
  `(loop ${body} (br_if 0 (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) ${end})))`;

/** Callers of 256 functions each that lie anywhere; all of them called in turn. */
function callsAnywhere(): string {
  const order = shuffle(Array.from({ length: 65_536 }, (_, i) => i + 257));
  const callers = list(256, (k) => `(func ${list(256, (i) => `(call ${order[256 * k + i]})`)})`);
  return one("", upTo(list(256, (i) => `(call ${i + 1})`)), `${callers} ${list(65_536, () => "(func)")}`);
}

const DEEP = `(tag $x) (func $down (param i32) (if (local.get 0) (then (call $down (i32.sub (local.get 0) (i32.const 1)))) (else (throw $x))))`;
const calls: readonly Mix[] = [
  { name: "calls of functions that lie anywhere", text: callsAnywhere(), turns: 2 },
  {
    name: "call_indirect of functions that lie anywhere",
    text: one(
      `(table $t funcref (elem ${list(65_536, (i) => String(i + 1))})) (type $f (func))`,
      upTo(`(call_indirect (type $f) (i32.shr_u ${NEXT} (i32.const 16)))`),
      list(65_536, () => "(func)"),
    ),
    turns: 200_000,
  },
  {
    name: "calls with 900 arguments",
    text: one(`(func $f (param ${repeat("i64", 900)}))`, upTo(`(call $f ${repeat("(i64.const 1)", 900)})`)),
  },
  {
    name: "calls that clear 5,000 locals",
    text: one(`(func $f (local ${repeat("funcref", 5000)}) (local.set 0 (ref.null func)))`, upTo("(call $f)")),
  },
  { name: "throw", text: one("(tag $x) (func $f (throw $x))", upTo("(try (do (call $f)) (catch_all))")) },
  { name: "throw past 5,000 frames", text: one(DEEP, upTo("(try (do (call $down (i32.const 5000))) (catch_all))")) },
];

const firsts: readonly Mix[] = [
  {
    name: "ref.func, the first time",
    text: one(
      `(elem declare func ${names})`,
      list(FUNCTIONS, (i) => `(drop (ref.func ${i + 1}))`),
      functions,
    ),
    once: 1,
  },
  {
    name: "table.init, the first time",
    text: one(
      `(table $t ${FUNCTIONS} funcref) (elem $e func ${names})`,
      `(table.init $t $e (i32.const 0) (i32.const 0) (i32.const ${FUNCTIONS}))`,
      functions,
    ),
    once: 1,
  },
  {
    name: "table.init of nothing, the first time",
    text: one(
      `(table $t 1 funcref) (elem $e func ${names})`,
      "(table.init $t $e (i32.const 0) (i32.const 0) (i32.const 0))",
      functions,
    ),
    once: 1,
  },
  {
    name: "table.get, the first time",
    text: one(`(table $t funcref (elem ${names}))`, upTo("(drop (table.get $t (local.get $i)))"), functions),
    once: FUNCTIONS,
  },
  {
    name: "table.grow by one",
    text: one("(table $t 1 funcref) (elem declare func 0)", upTo("(drop (table.grow $t (ref.func 0) (i32.const 1)))")),
    once: 30_000,
  },
  { name: "memory.grow by one", text: one("", upTo("(drop (memory.grow (i32.const 1)))")), once: 250 },
  {
    name: "memory.grow, and a write to each page",
    text: one(
      "",
      `(drop (memory.grow (i32.const 255))) ${upTo("(i32.store (i32.shl (local.get $i) (i32.const 12)) (i32.const 1))")}`,
    ),
    once: 4080,
  },
];

/** A chain of pointers, `step` bytes apart, in random order; each is read at `offset` behind where it points. */
function lay(memory: DataView, step: number, offset: number): void {
  const order = shuffle(Array.from({ length: Math.floor((MEMORY - 8192) / step) }, (_, i) => i * step));
  for (const [i, from] of order.entries()) memory.setInt32(from + offset, order[(i + 1) % order.length]!, true);
}

function shuffle(values: number[]): number[] {
  for (let i = values.length - 1; i > 0; i--) {
    const other = Math.floor(Math.random() * (i + 1));
    [values[i], values[other]] = [values[other]!, values[i]!];
  }
  return values;
}

const pointers: readonly Mix[] = [
  { name: "pointers through 16 MB", text: chain("p", "i32.load"), turns: 4096, fill: (memory) => lay(memory, 64, 0) },
  {
    name: "pointers across pages",
    text: chain("p", "i32.load offset=4093"),
    fill: (memory) => lay(memory, 4096, 4093),
  },
];

const named = (mixes: Readonly<Record<string, string>>): Mix[] =>
  Object.entries(mixes).map(([name, text]) => ({ name, text }));

export const MIXES: readonly Mix[] = [
  ...named(arithmetic),
  ...named(memory),
  ...Object.entries(tables).flatMap(([name, texts]) =>
    texts.map((text, i) => ({ name: texts.length === 1 ? name : `${name} of ${[0, 1, 63, 4000][i]}`, text })),
  ),
  ...calls,
  ...firsts,
  ...pointers,
];
