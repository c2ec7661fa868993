import type { Failure } from "./abi.ts";

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
