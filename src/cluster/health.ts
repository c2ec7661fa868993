/** Health states of endpoints. An unchecked endpoint is healthy; the first check decides alone. */

export type HealthState = {
  readonly healthy: boolean;
  /** Whether a check has decided yet. */
  readonly checked: boolean;
  /** Consecutive checks that contradict the state. */
  readonly against: number;
};

export type Thresholds = {
  /** Consecutive checks that make an endpoint healthy, or unhealthy. */
  readonly healthyAfter: number;
  readonly unhealthyAfter: number;
};

export const UNCHECKED: HealthState = { healthy: true, checked: false, against: 0 };

/** The state after one more check. */
export function update(state: HealthState, passed: boolean, { healthyAfter, unhealthyAfter }: Thresholds): HealthState {
  if (!state.checked) return { healthy: passed, checked: true, against: 0 };
  if (passed === state.healthy) return state.against === 0 ? state : { ...state, against: 0 };
  const against = state.against + 1;
  if (against < (state.healthy ? unhealthyAfter : healthyAfter)) return { ...state, against };
  return { healthy: passed, checked: true, against: 0 };
}

/** The state after a change of the check: unchanged, but the consecutive results are counted anew. */
export function renew(state: HealthState): HealthState {
  return state.against === 0 ? state : { ...state, against: 0 };
}

/** Result of a check. `failed`: it could not run; the endpoint's state does not change. */
export type CheckResult = { readonly result: "healthy" | "unhealthy" | "failed"; readonly problem: string };
