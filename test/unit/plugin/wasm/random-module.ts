/**
 * Valid modules at random, as text: functions that call each other directly and through a table, loops, blocks with
 * several results, jump tables, memory and tables in bulk, vectors, exceptions, tail calls. Each ends by itself: turns
 * and calls are paid for from a counter of the module's own.
 *
 * All is decided by a list of numbers. When it is used up everything is a constant, so that a shorter list is a smaller
 * module: what fails is made small by cutting numbers away.
 */
const TYPES = ["i32", "i64", "f32", "f64"] as const;
type Type = (typeof TYPES)[number];
type Signature = { readonly params: readonly Type[]; readonly results: readonly Type[] };

const TURNS = 300;
const SIGNATURES: readonly Signature[] = [
  { params: ["i32"], results: ["i32"] },
  { params: ["i32", "i64"], results: ["i64"] },
  { params: [], results: ["f64", "i32"] },
  { params: ["f32", "i32"], results: [] },
  { params: ["i64", "f64", "i32"], results: ["i32", "i64"] },
];
/** What `run` and the functions behind it have besides their parameters, by type. */
const LOCALS: readonly Type[] = ["i32", "i32", "i64", "f32", "f64"];
const BINARY = {
  i32: "add sub mul and or xor shl shr_s shr_u rotl rotr div_s div_u rem_s rem_u",
  i64: "add sub mul and or xor shl shr_s shr_u rotl div_s rem_u",
  f32: "add sub mul div min max copysign",
  f64: "add sub mul div min max copysign",
} as const;
const UNARY = {
  i32: "clz ctz popcnt extend8_s extend16_s",
  i64: "clz ctz popcnt extend32_s",
  f32: "abs neg sqrt ceil trunc nearest",
  f64: "abs neg sqrt floor trunc nearest",
} as const;
const COMPARE = { i32: "eq ne lt_s lt_u gt_s ge_u", i64: "eq lt_s ge_u", f32: "eq lt ge", f64: "ne gt le" } as const;
const CONVERT: Record<Type, readonly (readonly [string, Type])[]> = {
  i32: [
    ["i32.wrap_i64", "i64"],
    ["i32.trunc_sat_f64_s", "f64"],
    ["i32.trunc_f32_u", "f32"],
    ["i64.eqz", "i64"],
    ["i32.eqz", "i32"],
  ],
  i64: [
    ["i64.extend_i32_s", "i32"],
    ["i64.extend_i32_u", "i32"],
    ["i64.trunc_sat_f32_u", "f32"],
  ],
  f32: [
    ["f32.convert_i32_s", "i32"],
    ["f32.convert_i64_u", "i64"],
    ["f32.demote_f64", "f64"],
  ],
  f64: [
    ["f64.convert_i32_u", "i32"],
    ["f64.convert_i64_s", "i64"],
    ["f64.promote_f32", "f32"],
  ],
};

type Label = { readonly results: readonly Type[]; readonly loop: boolean };

class Generator {
  readonly #numbers: readonly number[];
  #at = 0;
  #locals: readonly Type[] = [];
  #results: readonly Type[] = [];
  #labels: Label[] = [];

  constructor(numbers: readonly number[]) {
    this.#numbers = numbers;
  }

  #below(count: number): number {
    return this.#at < this.#numbers.length ? this.#numbers[this.#at++]! % count : 0;
  }

  get #spent(): boolean {
    return this.#at >= this.#numbers.length;
  }

  #one<T>(list: readonly T[]): T {
    return list[this.#below(list.length)]!;
  }

  #word(words: string): string {
    return this.#one(words.split(" "));
  }

  module(more = ""): string {
    const run = this.#function('(func $run (export "run")', { params: ["i32", "i64"], results: ["i32", "f64", "i64"] });
    const bodies = SIGNATURES.map((signature, i) => this.#function(`(func $f${i}`, signature));
    const types = SIGNATURES.map(
      (s, i) => `(type $t${i} (func ${list("param", s.params)} ${list("result", s.results)}))`,
    );
    return `(module ${types.join(" ")}
      (memory (export "memory") 1 3) (table $table (export "table") 8 12 funcref) (tag $tag (param i32))
      (global $turns (mut i32) (i32.const 0)) (global $g (export "g") (mut i64) (i64.const 3))
      (elem (table $table) (i32.const 0) func ${SIGNATURES.map((_, i) => `$f${i}`).join(" ")})
      (elem $more func $f1 $f0 $f3) (data (i32.const 16) "some bytes to begin with") (data $text "and others")
      (func (export "sluice_abi") (result i32) i32.const 1)
      (func (export "again") (global.set $turns (i32.const ${TURNS})))
      (func $turn (result i32) (if (i32.eqz (global.get $turns)) (then unreachable))
        (global.set $turns (i32.sub (global.get $turns) (i32.const 1))) (i32.const 1))
      ${bodies.join("\n")} ${run} ${more})`;
  }

  #function(head: string, { params, results }: Signature): string {
    this.#locals = [...params, ...LOCALS];
    this.#results = results;
    this.#labels = [];
    const body = this.#body(results, 3);
    return `${head} ${list("param", params)} ${list("result", results)} ${list("local", LOCALS)} (drop (call $turn)) ${body})`;
  }

  /** Statements, then a value of each type. */
  #body(results: readonly Type[], depth: number): string {
    const parts: string[] = [];
    for (let left = this.#below(5); left > 0 && !this.#spent; left--) parts.push(this.#statement(depth));
    for (const type of results) parts.push(this.#value(type, depth));
    return parts.join(" ");
  }

  #inside<T>(label: Label, make: () => T): T {
    this.#labels.unshift(label);
    const made = make();
    this.#labels.shift();
    return made;
  }

  // ── Values ────────────────────────────────────────────────────────────────────────────────────────────────────────

  #constant(type: Type): string {
    const whole = this.#one([0, 1, 2, 7, -1, 255, 65_536, -(2 ** 31), 2 ** 31 - 1]);
    return `(${type}.const ${type[0] === "f" ? this.#one(["0", "1.5", "-3.25", "1e10", "nan", "inf", "-0"]) : whole})`;
  }

  #value(type: Type, depth: number): string {
    if (depth <= 0 || this.#spent) return this.#leaf(type);
    const value = (of: Type = type) => this.#value(of, depth - 1);
    switch (this.#below(type === "i32" ? 18 : 14)) {
      case 0:
        return this.#leaf(type);
      case 1:
        return `(${type}.${this.#word(BINARY[type])} ${value()} ${value()})`;
      case 2:
        return `(${type}.${this.#word(UNARY[type])} ${value()})`;
      case 3: {
        const [name, from] = this.#one(CONVERT[type]);
        return `(${name} ${value(from)})`;
      }
      case 4:
        return `(select ${value()} ${value()} ${value("i32")})`;
      case 5:
        return `(if (result ${type}) ${value("i32")} (then ${this.#nested([type], depth)}) (else ${this.#nested([type], depth)}))`;
      case 6:
        return `(block (result ${type}) ${this.#nested([type], depth)})`;
      case 7:
        return `(loop (result ${type}) ${this.#nested([type], depth, true)})`;
      case 8:
        return this.#inside(
          { results: [type], loop: false },
          () => `(block (result ${type}) (block (result ${type} i32) ${this.#nested([type, "i32"], depth)}) drop)`,
        );
      case 9:
        return this.#call(type, depth);
      case 10:
        return this.#load(type, value("i32"));
      case 11:
        return this.#jumpTable(type, depth);
      case 12:
        return this.#attempt(type, depth);
      case 13:
        return `(local.tee ${this.#local(type)} ${value()})`;
      default:
        return this.#whole(value);
    }
  }

  /** What only i32 has. */
  #whole(value: (type: Type) => string): string {
    const of = this.#one(TYPES);
    switch (this.#below(6)) {
      case 0:
        return `(${of}.${this.#word(COMPARE[of])} ${value(of)} ${value(of)})`;
      case 1:
        return "(memory.size)";
      case 2:
        return `(memory.grow (i32.and ${value("i32")} (i32.const 3)))`;
      case 3:
        return `(ref.is_null (table.get $table (i32.and ${value("i32")} (i32.const 7))))`;
      case 4:
        return `(table.grow $table (ref.null func) (i32.and ${value("i32")} (i32.const 3)))`;
      default:
        return `(i32x4.extract_lane 1 (i32x4.${this.#word("add sub mul")} (i32x4.splat ${value("i32")}) (v128.load (i32.and ${value("i32")} (i32.const 1023)))))`;
    }
  }

  #leaf(type: Type): string {
    if (this.#below(2) === 0) return this.#constant(type);
    return type === "i64" && this.#below(4) === 0 ? "(global.get $g)" : `(local.get ${this.#local(type)})`;
  }

  /** Some local of that type; there is always one. */
  #local(type: Type): number {
    const fitting = this.#locals.flatMap((local, i) => (local === type ? [i] : []));
    return this.#one(fitting);
  }

  #nested(results: readonly Type[], depth: number, loop = false): string {
    return this.#inside({ results: loop ? [] : results, loop }, () => this.#body(results, depth - 1));
  }

  #call(type: Type, depth: number): string {
    const fitting = SIGNATURES.flatMap((s, i) => (s.results.at(-1) === type ? [i] : []));
    if (fitting.length === 0) return this.#leaf(type);
    const i = this.#one(fitting);
    if (SIGNATURES[i]!.results.length === 1) return this.#callOf(i, depth);
    // The last result stays, by a local: what is under it is dropped.
    const local = this.#local(type);
    const call = this.#inside({ results: [type], loop: false }, () => this.#callOf(i, depth));
    return `(block (result ${type}) ${call} (local.set ${local}) drop (local.get ${local}))`;
  }

  /** Directly, or through the table. */
  #callOf(i: number, depth: number): string {
    const given = SIGNATURES[i]!.params.map((param) => this.#value(param, depth - 1)).join(" ");
    if (this.#below(2) === 0) return `(call $f${i} ${given})`;
    return `(call_indirect $table (type $t${i}) ${given} (i32.and ${this.#value("i32", 0)} (i32.const 7)))`;
  }

  #attempt(type: Type, depth: number): string {
    const body = this.#nested([type], depth);
    const caught = this.#inside({ results: [type], loop: false }, () => [
      `(catch $tag drop ${this.#value(type, depth - 1)})`,
      this.#below(2) === 0 ? "" : `(catch_all ${this.#value(type, depth - 1)})`,
    ]);
    return `(try (result ${type}) (do ${body}) ${caught.join(" ")})`;
  }

  #load(type: Type, address: string): string {
    // Mostly inside; sometimes it traps.
    const at = this.#below(8) === 0 ? address : `(i32.and ${address} (i32.const 4095))`;
    const width =
      type[0] === "i" ? this.#word(type === "i32" ? "load load8_s load16_u" : "load load8_u load32_s") : "load";
    return `(${type}.${width} offset=${this.#below(40)} ${at})`;
  }

  #jumpTable(type: Type, depth: number): string {
    const same: Label = { results: [type], loop: false };
    const body = this.#inside(same, () =>
      this.#inside(same, () =>
        this.#inside(same, () => `${this.#value(type, depth - 1)} ${this.#value("i32", depth - 1)}`),
      ),
    );
    return `(block (result ${type}) (block (result ${type}) (block (result ${type}) ${body} (br_table 0 1 2 1)) (br 1)))`;
  }

  // ── Statements ────────────────────────────────────────────────────────────────────────────────────────────────────

  #statement(depth: number): string {
    if (depth <= 0) return "nop";
    const type = this.#one(TYPES);
    const value = (of: Type = type) => this.#value(of, depth - 1);
    switch (this.#below(16)) {
      case 0:
        return `(local.set ${this.#local(type)} ${value()})`;
      case 1:
        return this.#store(type, depth);
      case 2:
        return `(if ${value("i32")} (then ${this.#nested([], depth)}) (else ${this.#nested([], depth)}))`;
      case 3:
      case 4:
        return `(loop ${this.#nested([], depth, true)})`;
      case 5:
      case 6:
        return this.#branch(depth);
      case 7:
        return `(drop ${value()})`;
      case 8:
        return this.#bulk(depth);
      case 9:
        return `(global.set $g ${value("i64")})`;
      case 10:
        return `(if ${value("i32")} (then (throw $tag ${value("i32")})))`;
      case 11:
        return `(try (do ${this.#nested([], depth)}) (catch $tag (local.set ${this.#local("i32")})))`;
      case 12:
        return this.#leave(depth);
      case 13:
        return `(call $f3 ${value("f32")} ${value("i32")})`;
      case 14:
        return `(v128.store (i32.and ${value("i32")} (i32.const 2047)) (i64x2.splat ${value("i64")}))`;
      default:
        return `(block ${this.#nested([], depth)})`;
    }
  }

  #store(type: Type, depth: number): string {
    const at = `(i32.and ${this.#value("i32", depth - 1)} (i32.const 4095))`;
    // The bits of a NaN are not laid down: floats go to memory as whole numbers.
    if (type === "f32" || type === "f64")
      return `(i32.store ${at} (i32.trunc_sat_${type}_s ${this.#value(type, depth - 1)}))`;
    return `(${type}.${this.#word("store store8 store16")} offset=${this.#below(40)} ${at} ${this.#value(type, depth - 1)})`;
  }

  /** Out of a block with its values, or back to the head of a loop while turns are left. */
  #branch(depth: number): string {
    if (this.#labels.length === 0) return "nop";
    const target = this.#below(this.#labels.length);
    const { results, loop } = this.#labels[target]!;
    if (loop)
      return `(br_if ${target} (i32.and (i32.and ${this.#value("i32", depth - 1)} (i32.const 3)) (call $turn)))`;
    const values = results.map((type) => this.#value(type, depth - 1)).join(" ");
    return `${values} (br_if ${target} ${this.#value("i32", depth - 1)}) ${"drop ".repeat(results.length)}`;
  }

  #bulk(depth: number): string {
    const near = () => `(i32.and ${this.#value("i32", depth - 1)} (i32.const 1023))`;
    return this.#one([
      () => `(memory.fill ${near()} ${near()} ${near()})`,
      () => `(memory.copy ${near()} ${near()} ${near()})`,
      () => `(memory.init $text ${near()} (i32.const 2) (i32.const 5))`,
      () => "(data.drop $text)",
      () => `(table.init $table $more (i32.const 5) (i32.const 0) (i32.and ${near()} (i32.const 3)))`,
      () => `(table.copy $table $table (i32.const 1) (i32.const 0) (i32.and ${near()} (i32.const 7)))`,
      () => `(table.fill $table (i32.const 6) (ref.null func) (i32.and ${near()} (i32.const 3)))`,
      () => "(elem.drop $more)",
    ])();
  }

  #leave(depth: number): string {
    const condition = this.#value("i32", depth - 1);
    const tail = SIGNATURES.findIndex(({ results }) => String(results) === String(this.#results));
    if (tail >= 0 && this.#below(2) === 0) {
      const given = SIGNATURES[tail]!.params.map((param) => this.#value(param, depth - 1)).join(" ");
      return `(if ${condition} (then (return_call $f${tail} ${given})))`;
    }
    return `(if ${condition} (then (return ${this.#results.map((type) => this.#value(type, depth - 1)).join(" ")})))`;
  }
}

function list(what: string, types: readonly Type[]): string {
  return types.length === 0 ? "" : `(${what} ${types.join(" ")})`;
}

/** The same as a plugin: each of those hooks returns the first result of `run`. */
export function randomPlugin(numbers: readonly number[], hooks: readonly string[]): string {
  const exported = hooks.map((hook) => `(export "${hook}" (func $hook))`).join(" ");
  return new Generator(
    numbers,
  ).module(`(func $hook (param i32 i32) (result i32) (global.set $turns (i32.const ${TURNS}))
    (call $run (local.get 0) (i64.extend_i32_s (local.get 1))) drop drop) ${exported}`);
}

/** A module that exports `run: (i32, i64) -> (i32, f64, i64)`, to be called after `again`. */
export function randomModule(numbers: readonly number[]): string {
  return new Generator(numbers).module();
}
