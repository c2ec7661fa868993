// Selects the endpoint that is expected to respond first: of two random ones the one with the lower product of average
// latency and load (requests in flight per weight). Failures make an endpoint more expensive, so that one which fails
// fast does not attract requests: at half of attempts failing it costs four times as much.

import { Endpoints } from "sluice/sdk";
import { latencyOf, successOf } from "./shared/quality";
import { load, pickOfTwo } from "./shared/two-choices";

export function pick(endpoints: Endpoints): i32 {
  return pickOfTwo(endpoints, cost);
}

function cost(endpoints: Endpoints, index: i32): f64 {
  const success = successOf(endpoints, index);
  return (load(endpoints, index) * latencyOf(endpoints, index)) / (success * success);
}
