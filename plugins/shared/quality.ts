// What the host has measured about an endpoint, as factors of a cost.

import { Endpoints } from "sluice/sdk";

/** Milliseconds after the last response from which the host lets an average decay to 0. */
const FRESH: i32 = 10000;

/** Lowest share of successful attempts that is distinguished. */
const MIN_SUCCESS: f64 = 0.01;

/** Share of the typical latency at which an endpoint with an old average is tried again. */
const RETRIAL: f64 = 0.9;

/** Moving average, in microseconds, of the latencies of the endpoints considered; 0 before the first. */
let typical: f64 = 0;

/**
 * The latency to be expected, in microseconds, at least 1. An endpoint without a sample is expected to be typical. An old
 * average, which the host lets decay, is taken for little less than that: an endpoint that was slow and got no request for
 * a while is tried again, but not flooded.
 */
export function latencyOf(endpoints: Endpoints, index: i32): f64 {
  const latency = <f64>endpoints.latency(index);
  if (latency == 0) return max(typical, 1);
  if (endpoints.latencyAge(index) > FRESH) return max(latency, typical * RETRIAL);
  typical = typical == 0 ? latency : typical + (latency - typical) / 16;
  return latency;
}

/** The share of successful attempts: `MIN_SUCCESS` to 1. */
export function successOf(endpoints: Endpoints, index: i32): f64 {
  return max(1 - <f64>endpoints.errorRate(index) / 1000000, MIN_SUCCESS);
}
