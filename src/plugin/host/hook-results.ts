/** Checks the results of hooks. */
import { HOOK_RESULTS, HOOKS, RESULT } from "../../abi/abi.ts";
import { Fault } from "./fault.ts";
import { hookName } from "./report.ts";

/** By hook: a bit mask of the results that it defines. */
const RESULTS = HOOKS.map((hook) => HOOK_RESULTS[hook].reduce((mask, result) => mask | (1 << result), 0));

/** `responded`: `respond` was called, which goes with the result `respond` only. @throws Fault for an invalid result. */
export function checkResult(hook: number, result: number, responded: boolean): void {
  if (result < 0 || result > 31 || ((RESULTS[hook]! >>> result) & 1) === 0) failResult(hook, result);
  if (responded !== (result === RESULT.respond)) failResponse(hook, result);
}

function failResult(hook: number, result: number): never {
  const expected = HOOK_RESULTS[HOOKS[hook]!].join(", ");
  throw new Fault("bad_result", `${hookName(hook)} returned ${result}, expected one of ${expected}`);
}

function failResponse(hook: number, result: number): never {
  const problem = result === RESULT.respond ? "without a call of respond" : "after a call of respond";
  throw new Fault("bad_result", `${hookName(hook)} returned ${result} ${problem}`);
}
