/**
 * A guest that executes a program in its memory: host calls, one after the other, at a given depth of the stack. It has
 * every import of the ABI, new ones included.
 */
import { HOOKS, IMPORTS, type Import, type ValueType } from "../../../../src/abi/abi.ts";
import { buildModule, type ModulePlan } from "../../../../src/plugin/wasm/build.ts";
import { compileWat, MEMORY } from "../kit.ts";

export type HostCall = { readonly group: string; readonly name: string; readonly declared: Import };

export const CALLS: readonly HostCall[] = Object.entries(IMPORTS).flatMap(([group, calls]) =>
  Object.entries(calls as Record<string, Import>).map(([name, declared]) => ({ group, name, declared })),
);

/** One step: a call, by its place in CALLS, and its arguments. `trap` ends the guest there. */
export type Step = { readonly call: number; readonly args: readonly number[] } | "trap";

/** The first page is for texts and room, the second for the program. */
export const PAGE = 65_536;
export const SIZE = 2 * PAGE;
/** Words of a step: what is called, the arguments, and last the result. */
const WORDS = 16;
const STEP = 4 * WORDS;
const RESULT = STEP - 4;
/** Before the program: how deep it runs, in two kinds of frames, and whether exceptions are caught around all of it. */
const NARROW = PAGE - 12;
const WIDE = PAGE - 8;
const CATCHES = PAGE - 4;
export const MOST_STEPS = PAGE / STEP - 1;

const TRAP = CALLS.length + 1;

function wrap({ declared }: HostCall, index: number): string {
  const load = (type: ValueType, i: number) => {
    const word = `(i32.load offset=${4 + 4 * i} (local.get 0))`;
    return type === "f64" ? `(f64.convert_i32_s ${word})` : word;
  };
  const call = `(call $import${index} ${declared.params.map(load).join(" ")})`;
  const body =
    declared.result === "i32"
      ? `(i32.store offset=${RESULT} (local.get 0) ${call})`
      : declared.result === null
        ? call
        : `(drop ${call})`;
  return `(func $call${index} (param i32) ${body})`;
}

function signature({ params, result }: Import): string {
  return `${params.map((type) => `(param ${type})`).join(" ")} ${result === null ? "" : `(result ${result})`}`;
}

const text = `(module
  ${CALLS.map(({ group, name, declared }, i) => `(import "${group}" "${name}" (func $import${i} ${signature(declared)}))`).join("\n")}
  (type $step (func (param i32)))
  (type $hook (func (param i32 i32) (result i32)))
  (memory (export "memory") 2)
  (table funcref (elem $nothing ${CALLS.map((_, i) => `$call${i}`).join(" ")} $trap))
  (func $nothing (param i32))
  (func $trap (param i32) unreachable)
  ${CALLS.map(wrap).join("\n")}
  (func $run (result i32) (local $at i32)
    (local.set $at (i32.const ${PAGE}))
    (loop $next
      (if (i32.load (local.get $at)) (then
        (call_indirect (type $step) (local.get $at) (i32.load (local.get $at)))
        (local.set $at (i32.add (local.get $at) (i32.const ${STEP})))
        (br $next))))
    (i32.const 0))
  (func $wide (param $n i32) (param i64 i64 i64) (result i32)
    (if (result i32) (local.get $n)
      (then (i32.add (i32.const 0) (call $wide (i32.sub (local.get $n) (i32.const 1)) (local.get 2) (local.get 3) (local.get 1))))
      (else (call $run))))
  (func $down (param $n i32) (result i32)
    (if (result i32) (local.get $n)
      (then (i32.add (i32.const 0) (call $down (i32.sub (local.get $n) (i32.const 1)))))
      (else (call $wide (i32.load (i32.const ${WIDE})) (i64.const 1) (i64.const 2) (i64.const 3)))))
  (func (export "sluice_abi") (result i32) i32.const 1)
  (func $begin (type $hook)
    (if (result i32) (i32.load (i32.const ${CATCHES}))
      (then (try (result i32) (do (call $down (i32.load (i32.const ${NARROW})))) (catch_all (i32.const 0))))
      (else (call $down (i32.load (i32.const ${NARROW}))))))
  ${HOOKS.map((hook) => `(export "${hook}" (func $begin))`).join(" ")})`;

export const scriptGuest: ModulePlan = buildModule(compileWat(text), { memory: MEMORY });

/** Where a program runs: how many frames deep, and whether the guest catches its exceptions. */
export type Place = { readonly narrow: number; readonly wide: number; readonly catches: boolean };

export const FLAT: Place = { narrow: 0, wide: 0, catches: false };

export function writeProgram(memory: Buffer, steps: readonly Step[], { narrow, wide, catches } = FLAT): void {
  if (steps.length > MOST_STEPS) throw new Error(`${steps.length} steps, ${MOST_STEPS} have room`);
  memory.fill(0, PAGE);
  memory.writeInt32LE(narrow, NARROW);
  memory.writeInt32LE(wide, WIDE);
  memory.writeInt32LE(Number(catches), CATCHES);
  let at = PAGE;
  for (const step of steps) {
    memory.writeInt32LE(step === "trap" ? TRAP : step.call + 1, at);
    if (step !== "trap") for (const [i, value] of step.args.entries()) memory.writeInt32LE(value | 0, at + 4 + 4 * i);
    at += STEP;
  }
}

/** The result of a step's call. */
export function resultOf(memory: Buffer, step: number): number {
  return memory.readInt32LE(PAGE + step * STEP + RESULT);
}

/** The place in CALLS of a call of `sluice:core/1`. */
export function callOf(name: keyof (typeof IMPORTS)["sluice:core/1"]): number {
  return CALLS.findIndex((call) => call.group === "sluice:core/1" && call.name === name);
}

/** The names of a call's parameters, as its description begins with them. */
export function parametersOf({ declared, name }: HostCall): string[] {
  const list = /^\(([^)]*)\)/.exec(declared.doc)?.[1] ?? "";
  const names = list
    .split(",")
    .map((one) => one.replace(/:.*/, "").trim())
    .filter((one) => one !== "");
  if (names.length !== declared.params.length) throw new Error(`${name}: its description names other parameters`);
  return names;
}

export type Role = "pointer" | "length" | "out" | "cap" | "number";

/** The kind of each parameter: a pointer is followed by its length, or is an output. */
export function rolesOf(call: HostCall): Role[] {
  const names = parametersOf(call);
  return names.map((name, i) => {
    if (name === "out" || name.endsWith("Out")) return "out";
    if (name === "cap" || (name === "len" && names[i - 1] === "out")) return "cap";
    if (name === "len" || (i > 0 && name === `${names[i - 1]}Len`)) return "length";
    return names[i + 1] === "len" || names[i + 1] === `${name}Len` ? "pointer" : "number";
  });
}
