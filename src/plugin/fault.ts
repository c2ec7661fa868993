import type { Failure } from "./abi.ts";

/** Why a guest came to its end, when the host knows better than the engine. Thrown through the guest. */
export class Fault extends Error {
  override readonly name = "Fault";
  readonly reason: Failure;

  constructor(reason: Failure, message: string) {
    super(message);
    this.reason = reason;
  }
}
