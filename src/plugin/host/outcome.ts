/** What a call of a hook came to. */
export const OUTCOME = {
  continue: 0,
  respond: 1,
  reject: 2,
  /** The head is buffered until the whole body is. */
  buffer: 3,
  /** The plugin failed under `onFailure: reject`; the failure was counted and logged. */
  failed: 4,
  /** The call is suspended: the exchange is told later what came of it. */
  suspended: 5,
  /** As many calls wait as may. */
  busy: 6,
} as const;
