import type { Failure } from "../../abi/abi.ts";

/** Why a guest came to its end, when the host knows better than the engine. Thrown through the guest. */
export class Fault extends Error {
  override readonly name = "Fault";
  readonly reason: Failure;
  /** `file:line:col` of a `throw`, as the guest says; empty where it does not. */
  readonly place: string;

  constructor(reason: Failure, message: string, place = "") {
    super(message);
    this.reason = reason;
    this.place = place;
  }
}

/** `(func (export "t") unreachable)` */
const TRAPS = [
  ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, 1, 4, 1, 0x60, 0, 0, 3, 2, 1, 0],
  ...[7, 5, 1, 1, 0x74, 0, 0, 10, 5, 1, 3, 0, 0, 0x0b],
];

/**
 * A trap of the engine's, made once. Thrown by a host call it ends the guest, since no handler of a guest catches a
 * trap; a Fault would be caught, and each one costs more than the fuel of a turn that makes the next.
 */
export const TRAP = makeTrap();

function makeTrap(): WebAssembly.RuntimeError {
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(Uint8Array.from(TRAPS)));
  try {
    (exports.t as () => void)();
  } catch (error) {
    return error as WebAssembly.RuntimeError;
  }
  throw new Error("unreachable code did not trap");
}
