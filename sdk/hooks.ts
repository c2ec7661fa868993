// What the wrappers call that the compiler's transform writes around an author's hooks (transform.js).

import "./abort";
import { RESULT } from "./abi";
import { Cluster } from "./cluster";
import { beginPick, refreshEndpoints } from "./endpoints";
import { result, setResult } from "./exchange";
import { setInstance } from "./instance";
import { request } from "./request";
import { state } from "./state";

export { body } from "./body";
export { connection } from "./connection";
export { endpoint } from "./endpoint";
export { endpoints } from "./endpoints";
export { requestTrailers, responseTrailers } from "./headers";
export { outcome } from "./outcome";
export { request } from "./request";
export { response } from "./response";
export { state } from "./state";

// With `runtime: gc` there is no arena, and nothing to do around a call.

// @ts-ignore: decorator
@inline
function open(): void {
  // @ts-ignore: the arena's, when it is the runtime
  if (isDefined(__arena_enter)) __arena_enter();
}

// @ts-ignore: decorator
@inline
function close(place: string): void {
  // @ts-ignore: the arena's, when it is the runtime
  if (isDefined(__arena_leave)) __arena_leave(changetype<usize>(place));
}

/** Before a hook of a request. */
export function enter(instance: i32): void {
  setInstance(instance);
  setResult(RESULT.continue_);
  open();
}

/** After it: the result. `place`: where the hook is written, for what its call must not have done. */
export function leave(place: string): i32 {
  close(place);
  return result;
}

/** After `route`: the cluster that it named is chosen; null passes to the next rule. */
export function leaveRoute(cluster: Cluster | null, place: string): i32 {
  if (result == RESULT.continue_ && cluster !== null) request.choose(cluster);
  return leave(place);
}

/** After `onHealthCheck`. */
export function leaveHealthCheck(healthy: bool, place: string): i32 {
  if (!healthy) setResult(RESULT.reject);
  return leave(place);
}

/** Before `configure`: what it makes is kept. */
export function enterConfigure(instance: i32): void {
  setInstance(instance);
}

/** Before `onRestore`: what it makes is kept, as in `configure`. */
export function enterRestore(instance: i32): void {
  setInstance(instance);
  state.rewind();
}

/** Before `update`. */
export function enterUpdate(instance: i32): void {
  setInstance(instance);
  setResult(RESULT.continue_);
  refreshEndpoints();
  open();
}

/** Before `pick`. */
export function enterPick(instance: i32): void {
  setInstance(instance);
  beginPick();
  open();
}

/** After `pick`. */
export function leavePick(index: i32, place: string): i32 {
  close(place);
  return index;
}
