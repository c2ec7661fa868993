// Power of two choices: selects the less loaded per weight of two random endpoints.

import { Endpoints } from "sluice/sdk";
import { load, pickOfTwo } from "./shared/two-choices";

export function pick(endpoints: Endpoints): i32 {
  return pickOfTwo(endpoints, load);
}
