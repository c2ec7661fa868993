/** Time limits for what this worker waits for. */

/** A timer that is later than this was held up by this worker itself. */
const LATE = 50;

/**
 * Calls `expire` when so many milliseconds are over; what it returns ends that. Where this worker was busy, what it waits
 * for may have come already and not been looked at: then the time that it took is given once more.
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
