/** Plugins that misbehave, written by hand: each has one hook, and does one thing wrong in it. */
import wabt from "wabt";

const { parseWat } = await wabt();

/** A module with the native ABI whose hook `name` runs `body`, which leaves an i32. */
export function makePlugin(hook: string, body: string, more = ""): Uint8Array {
  return assemble(`(module
    ${more}
    (memory (export "memory") 1)
    (func (export "sluice_abi") (result i32) i32.const 1)
    (func (export "${hook}") (param i32 i32) (result i32) ${body}))`);
}

/** Converts a module from text. */
export function assemble(text: string): Uint8Array {
  const module = parseWat("plugin.wat", text);
  const { buffer } = module.toBinary({});
  module.destroy();
  return buffer;
}

export const TRAP = "unreachable";
export const SPIN = "(loop $forever br $forever) i32.const 0";

/** A hook that reads the precise time: an import that the configuration must allow. */
export const asksPreciseTime = (): Uint8Array =>
  makePlugin(
    "request_head",
    "(drop (call $now)) i32.const 0",
    '(import "sluice:clock/1" "now_precise" (func $now (result f64)))',
  );

/** Traps only if the request has `x-bad`. Its host call reads only the length of that field. */
export const trapsWhenAsked = (): Uint8Array =>
  makePlugin(
    "request_head",
    `(if (i32.ge_s (call $get (i32.const 0) (i32.const 16) (i32.const 5) (i32.const 0) (i32.const 64) (i32.const 64)) (i32.const 0))
       (then unreachable))
     i32.const 0`,
    `(import "sluice:core/1" "header_get" (func $get (param i32 i32 i32 i32 i32 i32) (result i32)))
     (data (i32.const 16) "x-bad")`,
  );
