// Called by the wrappers that the compiler transform generates around the hooks (transform.js).

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

// With `runtime: gc` there is no arena.

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

/** Called before a hook. */
export function enter(instance: i32): void {
  setInstance(instance);
  setResult(RESULT.continue_);
  open();
}

/** Called after a hook; returns its result. `place`: its source position, for errors. */
export function leave(place: string): i32 {
  close(place);
  return result;
}

/** Called after `route`: selects the returned cluster; null passes to the next route. */
export function leaveRoute(cluster: Cluster | null, place: string): i32 {
  if (result == RESULT.continue_ && cluster !== null) request.choose(cluster);
  return leave(place);
}

/** Called after `onHealthCheck`. */
export function leaveHealthCheck(healthy: bool, place: string): i32 {
  if (!healthy) setResult(RESULT.reject);
  return leave(place);
}

/** Called before `configure`, which allocates outside of the arena. */
export function enterConfigure(instance: i32): void {
  setInstance(instance);
}

/** Called before `onRestore`, which allocates outside of the arena. */
export function enterRestore(instance: i32): void {
  setInstance(instance);
  state.rewind();
}

/** Called before `update`. */
export function enterUpdate(instance: i32): void {
  setInstance(instance);
  setResult(RESULT.continue_);
  refreshEndpoints();
  open();
}

/** Called before `pick`. */
export function enterPick(instance: i32): void {
  setInstance(instance);
  beginPick();
  open();
}

/** Called after `pick`. */
export function leavePick(index: i32, place: string): i32 {
  close(place);
  return index;
}
