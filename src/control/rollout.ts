/** When a new version of a plugin is promoted, and when it is rolled back: by its figures against the old one's. */

export type RolloutRules = {
  /** Of a hundred requests, those that the new version takes. */
  readonly percent: number;
  /** Milliseconds that it is watched at least. */
  readonly watch: number;
  readonly minRequests: number;
  /** Of a hundred of its requests, those on which it may fail. */
  readonly maxFailures: number;
};

/** What one of the two did since the rollout began. */
export type VersionFigures = {
  readonly requests: number;
  /** Requests on which it failed, and failures of hooks that no request calls. */
  readonly failures: number;
  /** In hooks of requests: fuel, and milliseconds. */
  readonly fuel: number;
  readonly time: number;
};

export type Figures = {
  /** Milliseconds since the rollout began. */
  readonly elapsed: number;
  /** The new version is in quarantine on some thread. */
  readonly quarantined: boolean;
  readonly old: VersionFigures;
  readonly new: VersionFigures;
};

export type Decision = { readonly verdict: "watch" | "promote" | "roll back"; readonly why: string };

/**
 * What a request may cost with the new version: twice the old one's mean, and as much more as nobody would notice. A
 * pause of the collector or of the system, or code that is not yet compiled to the end, falls upon a few requests by
 * chance: so much time in all is not held against it.
 */
export const ALLOWANCE = { factor: 2, fuel: 1000, milliseconds: 0.1, pauses: 50 } as const;

export function judge(rules: RolloutRules, figures: Figures): Decision {
  const { elapsed, quarantined, old, new: next } = figures;
  if (quarantined) return { verdict: "roll back", why: "it was quarantined" };
  const allowed = countAllowed(rules, old, next);
  if (next.failures > allowed) {
    const why = `it failed on ${next.failures} of ${next.requests} requests, allowed are ${Math.floor(allowed)}`;
    return { verdict: "roll back", why };
  }
  if (elapsed < rules.watch) return { verdict: "watch", why: `it is watched for ${rules.watch} ms` };
  if (next.requests < rules.minRequests)
    return { verdict: "watch", why: `${next.requests} of ${rules.minRequests} requests have come to it` };
  const dear = compareCosts(old, next);
  if (dear !== null) return { verdict: "roll back", why: dear };
  return { verdict: "promote", why: `it failed on ${next.failures} of ${next.requests} requests` };
}

/**
 * Failures that it may have had by now. Before `minRequests` they are counted against that many: what would be too many
 * then is too many already. Where the old version fails, by what clients send, the new one may as often, and by chance
 * somewhat more: three standard deviations.
 */
function countAllowed({ maxFailures, minRequests }: RolloutRules, old: VersionFigures, next: VersionFigures): number {
  const requests = Math.max(next.requests, minRequests);
  const expected = old.requests === 0 ? 0 : (old.failures / old.requests) * requests;
  return Math.max((maxFailures / 100) * requests, expected + 3 * Math.sqrt(expected));
}

/** What is dearer than it may be, in words; null when nothing is, or when the old version had nothing to do. */
function compareCosts(old: VersionFigures, next: VersionFigures): string | null {
  if (old.requests === 0) return null;
  const compare = (what: "fuel" | "time", slack: number, unit: string): string | null => {
    const [before, after] = [old[what] / old.requests, next[what] / next.requests];
    if (after <= before * ALLOWANCE.factor + slack) return null;
    return `a request takes ${after.toPrecision(3)}${unit} with it, ${before.toPrecision(3)}${unit} with the old version`;
  };
  const milliseconds = ALLOWANCE.milliseconds + ALLOWANCE.pauses / next.requests;
  return compare("fuel", ALLOWANCE.fuel, " fuel") ?? compare("time", milliseconds, " ms");
}
