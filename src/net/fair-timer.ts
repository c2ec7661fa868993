/** ms. A timer that is later than this was delayed by this thread itself. */
const LATE = 50;

/**
 * Calls `expire` after `milliseconds`; the returned function cancels it. If this thread was busy when the timer was
 * due, the awaited event may be pending in the event loop: the limit is then extended by the delay.
 */
export function limitTime(milliseconds: number, expire: () => void): () => void {
  const due = performance.now() + milliseconds;
  let timer = setTimeout(() => {
    const late = performance.now() - due;
    if (late <= LATE) expire();
    else timer = setTimeout(expire, Math.min(late, milliseconds));
  }, milliseconds);
  return () => clearTimeout(timer);
}
