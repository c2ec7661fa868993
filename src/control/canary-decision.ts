/** Decides whether a canary version is promoted or rolled back, by comparing its figures with the baseline's. */

export type RolloutPolicy = {
  /** Share of the requests that the canary version receives, in percent. */
  readonly percent: number;
  /** Minimum duration, milliseconds. */
  readonly watch: number;
  readonly minRequests: number;
  /** Maximum share of its requests on which the canary version may fail, in percent. */
  readonly maxFailures: number;
};

/** Figures of one version since the start of the rollout. */
export type VersionFigures = {
  readonly requests: number;
  /** Requests on which it failed, and failures of hooks that no request calls. */
  readonly failures: number;
  /** Fuel and milliseconds used by hooks of requests. */
  readonly fuel: number;
  readonly time: number;
};

export type Figures = {
  /** Milliseconds since the start of the rollout. */
  readonly elapsed: number;
  /** The canary version is in quarantine in at least one worker. */
  readonly quarantined: boolean;
  readonly baseline: VersionFigures;
  readonly canary: VersionFigures;
};

export type Decision = { readonly action: "continue" | "promote" | "roll back"; readonly reason: string };

/**
 * Allowed cost of a request with the canary version: `factor` times the baseline's mean, plus `fuel` or `milliseconds`.
 * A pause of the garbage collector or of the system, or code that is not optimised yet, affects a few requests by
 * chance: `pauses` milliseconds in total are tolerated.
 */
export const ALLOWANCE = { factor: 2, fuel: 1000, milliseconds: 0.1, pauses: 50 } as const;

export function decide(policy: RolloutPolicy, figures: Figures): Decision {
  const { elapsed, quarantined, baseline, canary } = figures;
  if (quarantined) return { action: "roll back", reason: "it was quarantined" };
  const allowed = countAllowed(policy, baseline, canary);
  if (canary.failures > allowed) {
    const reason = `it failed on ${canary.failures} of ${canary.requests} requests, allowed are ${Math.floor(allowed)}`;
    return { action: "roll back", reason };
  }
  if (elapsed < policy.watch) return { action: "continue", reason: `minimum duration ${policy.watch} ms` };
  if (canary.requests < policy.minRequests)
    return { action: "continue", reason: `received ${canary.requests} of at least ${policy.minRequests} requests` };
  const excess = findExcessCost(baseline, canary);
  if (excess !== null) return { action: "roll back", reason: excess };
  return { action: "promote", reason: `it failed on ${canary.failures} of ${canary.requests} requests` };
}

/**
 * Returns the number of failures allowed so far. Below `minRequests` the limit for that number applies, because a
 * version that exceeds it already cannot be promoted later. If the baseline fails because of what clients send, the
 * canary version may fail as often, plus three standard deviations.
 */
function countAllowed(
  { maxFailures, minRequests }: RolloutPolicy,
  baseline: VersionFigures,
  canary: VersionFigures,
): number {
  const requests = Math.max(canary.requests, minRequests);
  const expected = baseline.requests === 0 ? 0 : (baseline.failures / baseline.requests) * requests;
  return Math.max((maxFailures / 100) * requests, expected + 3 * Math.sqrt(expected));
}

/** Describes the cost that exceeds its limit; null if none does, or if the baseline had no requests. */
function findExcessCost(baseline: VersionFigures, canary: VersionFigures): string | null {
  if (baseline.requests === 0) return null;
  const compare = (cost: "fuel" | "time", slack: number, unit: string): string | null => {
    const [before, after] = [baseline[cost] / baseline.requests, canary[cost] / canary.requests];
    if (after <= before * ALLOWANCE.factor + slack) return null;
    return `a request takes ${after.toPrecision(3)}${unit} with it, ${before.toPrecision(3)}${unit} with the baseline`;
  };
  const milliseconds = ALLOWANCE.milliseconds + ALLOWANCE.pauses / canary.requests;
  return compare("fuel", ALLOWANCE.fuel, " fuel") ?? compare("time", milliseconds, " ms");
}
