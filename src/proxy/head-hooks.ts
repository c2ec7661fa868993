/** Calls the hooks of message heads in the chains. */
import { HOOK } from "../abi/abi.ts";
import type { Instance } from "../plugin/host/instance.ts";
import { OUTCOME } from "../plugin/host/outcome.ts";
import { countEntered, instanceAt } from "./chains.ts";
import type { Exchange } from "./exchange.ts";
import { requestBody, responseBody } from "./filtered-body.ts";
import { prepareLocalResponse } from "./local-response.ts";
import type { PipelineControl } from "./pipeline-control.ts";

/** Calls request_head. Returns the next phase, or -1 to continue with the chain. */
export function callRequestHead(pipeline: PipelineControl, instance: Instance, x: Exchange): number {
  if ((instance.hooks & (1 << HOOK.request_head)) === 0) return -1;
  const outcome = call(instance, HOOK.request_head, x);
  switch (outcome) {
    case OUTCOME.continue:
      return -1;
    case OUTCOME.buffer:
      requestBody(x).bufferFor(instance);
      return -1;
    case OUTCOME.suspended:
      return pipeline.suspend(x);
    default:
      return pipeline.endByPlugin(x, outcome);
  }
}

/** Calls response_head in both chains, in reverse order. Returns OUTCOME.continue or OUTCOME.suspended. */
export function callResponseHead(pipeline: PipelineControl, x: Exchange): number {
  const total = countEntered(x);
  for (; x.filtersDone < total; x.filtersDone++) {
    const instance = instanceAt(x, total - 1 - x.filtersDone);
    if ((instance.hooks & (1 << HOOK.response_head)) === 0) continue;
    const outcome = call(instance, HOOK.response_head, x);
    if (outcome === OUTCOME.suspended) return outcome;
    if (outcome === OUTCOME.respond) {
      x.error = null;
      prepareLocalResponse(x);
      x.responseEnd = x.response.end;
    } else if (outcome === OUTCOME.buffer) {
      // A tunnel has no body to buffer.
      if (x.attempt.upgraded !== null && x.localStatus === 0) continue;
      responseBody(x).bufferFor(instance);
    } else if (outcome !== OUTCOME.continue) {
      pipeline.endByPlugin(x, outcome);
      break;
    }
  }
  x.filtersDone = 0;
  return OUTCOME.continue;
}

/** Calls a hook, or returns the outcome of its suspended call. */
function call(instance: Instance, hook: number, x: Exchange): number {
  if (x.outcome < 0) return instance.call(hook, x);
  const outcome = x.outcome;
  x.outcome = -1;
  return outcome;
}
