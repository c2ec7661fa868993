import type { Failure } from "../../abi/abi.ts";

/** An error that the host throws through a guest to end it, with the reason of the failure. */
export class Fault extends Error {
  override readonly name = "Fault";
  readonly reason: Failure;
  /** `file:line:col` of a `throw`, as reported by the guest; empty without it. */
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
 * A real WebAssembly trap. Guests cannot catch traps, so throwing it from a host call always ends the guest; a Fault can
 * be caught. It is created once, because creating an error costs more than the fuel of the loop that causes the next.
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
