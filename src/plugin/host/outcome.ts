/** The outcome of a hook call. Results of the ABI (RESULT) have the same values. */
export const OUTCOME = {
  continue: 0,
  respond: 1,
  reject: 2,
  /** The head is buffered until the whole body is. */
  buffer: 3,
  /** The plugin failed under `onFailure: reject`; the failure was counted and logged. */
  failed: 4,
  /** The call is suspended: `HookCaller.resume` is called with its outcome. */
  suspended: 5,
  /** The call was rejected: the queue of the plugin is full. */
  busy: 6,
} as const;
