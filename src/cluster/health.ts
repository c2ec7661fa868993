/** What checks make of an endpoint: one that is not yet checked is healthy, and the first check alone decides. */

export type Stand = {
  readonly healthy: boolean;
  /** Whether a check has decided yet. */
  readonly checked: boolean;
  /** Checks in a row that spoke against the present state. */
  readonly against: number;
};

export type Thresholds = {
  /** Checks in a row that bring an endpoint back, and that take it out. */
  readonly healthyAfter: number;
  readonly unhealthyAfter: number;
};

export const UNCHECKED: Stand = { healthy: true, checked: false, against: 0 };

/** The state after one more check. */
export function judge(stand: Stand, passed: boolean, { healthyAfter, unhealthyAfter }: Thresholds): Stand {
  if (!stand.checked) return { healthy: passed, checked: true, against: 0 };
  if (passed === stand.healthy) return stand.against === 0 ? stand : { ...stand, against: 0 };
  const against = stand.against + 1;
  if (against < (stand.healthy ? unhealthyAfter : healthyAfter)) return { ...stand, against };
  return { healthy: passed, checked: true, against: 0 };
}

/** Another check takes over: what the last one found stands until this one has seen as much by itself. */
export function renew(stand: Stand): Stand {
  return stand.against === 0 ? stand : { ...stand, against: 0 };
}

/** What a check came to. `failed`: it could not be made, which says nothing of the endpoint. */
export type CheckResult = { readonly result: "healthy" | "unhealthy" | "failed"; readonly problem: string };
