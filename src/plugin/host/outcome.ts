/** What a call of a hook came to. */
export const OUTCOME = {
  continue: 0,
  respond: 1,
  reject: 2,
  /** The head is held back until its body is whole. */
  hold: 3,
  /** The plugin failed and its policy is `reject`; the failure is counted and logged already. */
  failed: 4,
  /** The call is suspended: the exchange is told later what came of it. */
  suspended: 5,
  /** As many calls wait as may. */
  busy: 6,
} as const;
