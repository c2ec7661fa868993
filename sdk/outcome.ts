import { ATTEMPT } from "./abi";
import { attempt } from "./imports";

/** How one attempt at an endpoint ended. */
// @ts-ignore: decorator
@final
export class Outcome {
  /** The endpoint's id, as `endpoints.id(i)` gives it. */
  get endpoint(): i32 {
    return attempt(ATTEMPT.endpoint);
  }

  /** Microseconds from the pick to the answer's head, or to the failure. */
  get latency(): i32 {
    return attempt(ATTEMPT.latency);
  }

  /** The answer's status code; 0 when there was none. */
  get status(): i32 {
    return attempt(ATTEMPT.status);
  }

  /** Did the attempt fail before an answer's head? */
  get failed(): bool {
    return attempt(ATTEMPT.failed) != 0;
  }
}

// @ts-ignore: decorator
@lazy export const outcome = new Outcome();
