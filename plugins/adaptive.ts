// Selects by several factors, each with its own influence: of two random endpoints the one with the lower
// load^a × latency^b ÷ success^c:
//
//     strategy:
//       adaptive:
//         load: 1                    # a: influence of the requests in flight per weight
//         latency: 0.5               # b: influence of the average latency
//         errors: 2                  # c: influence of the share of failed attempts
//
// An influence of 0 turns a factor off, 1 is proportional, 2 squares it.

import { Config, Endpoints } from "sluice/sdk";
import { latencyOf, successOf } from "./shared/quality";
import { load, pickOfTwo } from "./shared/two-choices";

Config.allow("", ["load", "latency", "errors"]);

const loadInfluence = influence("load", 1);
const latencyInfluence = influence("latency", 0.5);
const errorInfluence = influence("errors", 2);

export function pick(endpoints: Endpoints): i32 {
  return pickOfTwo(endpoints, cost);
}

function cost(endpoints: Endpoints, index: i32): f64 {
  return (
    (Math.pow(load(endpoints, index), loadInfluence) * Math.pow(latencyOf(endpoints, index), latencyInfluence)) /
    Math.pow(successOf(endpoints, index), errorInfluence)
  );
}

function influence(path: string, fallback: f64): f64 {
  const value = Config.float(path, fallback);
  if (value < 0 || value > 10) Config.refuse(path, "0 to 10");
  return value;
}
