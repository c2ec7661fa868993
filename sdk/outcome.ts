import { ATTEMPT } from "./abi";
import { attempt } from "./imports";

/** The result of an attempt, in `onOutcome`. */
// @ts-ignore: decorator
@final
export class Outcome {
  /** The endpoint's id, as returned by `endpoints.id(i)`. */
  get endpoint(): i32 {
    return attempt(ATTEMPT.endpoint);
  }

  /** Microseconds from pick to response head or failure. */
  get latency(): i32 {
    return attempt(ATTEMPT.latency);
  }

  /** Status code of the response; 0 without one. */
  get status(): i32 {
    return attempt(ATTEMPT.status);
  }

  /** Whether the attempt failed before a response head. */
  get failed(): bool {
    return attempt(ATTEMPT.failed) != 0;
  }
}

// @ts-ignore: decorator
@lazy export const outcome = new Outcome();
