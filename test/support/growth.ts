/** How work grows with the size of the input, measured independently of the machine's speed and load. */
import assert from "node:assert/strict";

const FACTOR = 16;
/** Between linear and quadratic growth. */
const MOST = 6;
/** Processor time to measure, microseconds: some kernels count it in ticks. */
const LEAST = 40_000;

/**
 * Fails unless the work of `run` is linear in its argument: compares the processor time of one run with 16 times `size` to
 * that of 16 runs with `size`. The ratio is about 1 if the work is linear, 16 if it is quadratic.
 */
export function assertLinear(size: number, run: (size: number) => unknown, what: string): void {
  run(size);
  let [one, many] = [0, 0];
  while (one + many < LEAST) {
    const began = processorTime();
    for (let i = 0; i < FACTOR; i++) run(size);
    const between = processorTime();
    run(FACTOR * size);
    many += between - began;
    one += processorTime() - between;
  }
  const growth = one / Math.max(many, 1);
  assert.ok(growth < MOST, `${what}: grows by ${growth.toFixed(1)} times its size`);
}

/** Of this thread, microseconds. */
function processorTime(): number {
  const { user, system } = process.threadCpuUsage();
  return user + system;
}
