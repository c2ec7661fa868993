/** The monotonic time of this process, which a test can advance, so that it need not wait. */
import type { TestContext } from "node:test";

/** Returns a function that advances `performance.now()`, which clocks read, by that many ms until the end of the test. */
export function mockTime(t: TestContext): (ms: number) => void {
  const now = performance.now.bind(performance);
  let ahead = 0;
  t.mock.method(performance, "now", () => now() + ahead);
  return (ms) => {
    ahead += ms;
  };
}
