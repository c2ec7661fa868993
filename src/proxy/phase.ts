/** Where in the pipeline an exchange is (`pipeline.ts`). */
export const PHASE = {
  idle: 0,
  received: 1,
  request: 2,
  route: 3,
  chain: 4,
  /** The body of a request is buffered until it is complete, or too large. */
  bufferingRequest: 5,
  filterRequest: 6,
  pick: 7,
  forward: 8,
  awaiting: 9,
  /** A final response head was received. */
  responded: 10,
  failed: 11,
  response: 12,
  /** The same as `bufferingRequest` of a response. */
  bufferingResponse: 13,
  filterResponse: 14,
  send: 15,
  body: 16,
  /** A chunk of the response's body goes through plugins. */
  filterChunk: 17,
  /** The response cannot be completed. */
  broken: 18,
  done: 19,
  /** A plugin's call is suspended, or bandwidth is awaited; the exchange continues at `resumesAt`. */
  suspended: 20,
} as const;
