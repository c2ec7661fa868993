/** When to renew a certificate, and when to try again after a failure. Pure: wall-clock ms, `random` from 0 to 1. */

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;

/**
 * Delays after consecutive failed attempts; the last one repeats. Public CAs allow five failed validations of a name an
 * hour: with these, five attempts are made in the first hour.
 */
const DELAYS = [10 * SECOND, 2 * MINUTE, 10 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR, 4 * HOUR, 8 * HOUR] as const;
/** A server may ask for a later attempt than these, by at most (`client.ts`). */
const LONGEST_WAIT = 8 * 24 * HOUR;
/** Share of a delay that is added by chance, so that many proxies do not try at once. */
const RETRY_JITTER = 0.2;
/** The same of the lifetime, by which a renewal is earlier. */
const RENEWAL_JITTER = 0.03;
/** How often renewal information is read (RFC 9773 section 4.3.2), if the server does not say. */
const CHECK_EVERY = 6 * HOUR;
const SHORTEST_CHECK = MINUTE;
const LONGEST_CHECK = 24 * HOUR;

/** When a certificate is renewed without renewal information: with a third of its lifetime remaining. */
export function renewalTime(validFrom: number, validTo: number, random: number): number {
  const lifetime = validTo - validFrom;
  return Math.round(validTo - lifetime / 3 - RENEWAL_JITTER * random * lifetime);
}

/** A suggested window, and the selected time in it. */
export type Suggestion = {
  readonly start: number;
  readonly end: number;
  readonly at: number;
  readonly checkAt: number;
};

/**
 * Selects a time in a window (RFC 9773 section 4.2), or keeps that of `before` if the window is the same. Whatever the
 * window, at least a sixth of the lifetime remains.
 */
export function selectTime(
  window: { readonly start: number; readonly end: number; readonly retryAt: number | null },
  before: Suggestion | null,
  { now, random, validFrom, validTo }: { now: number; random: number; validFrom: number; validTo: number },
): Suggestion {
  const { start, end, retryAt } = window;
  const isSame = before !== null && before.start === start && before.end === end;
  const at = isSame ? before.at : Math.round(start + random * (end - start));
  const check = (retryAt ?? now + CHECK_EVERY) - now;
  const checkAt = now + Math.min(Math.max(check, SHORTEST_CHECK), LONGEST_CHECK);
  return { start, end, at: Math.min(at, Math.round(validTo - (validTo - validFrom) / 6)), checkAt };
}

/**
 * Whether a certificate is obtained so soon after the one before that a further one must wait, even if the server
 * suggests an earlier time.
 */
export function isEarly(issuedAt: number, now: number, lifetime: number): boolean {
  return now < issuedAt + Math.max(MINUTE, Math.min(HOUR, lifetime / 2));
}

/** When renewal information is read again after it could not be. */
export function nextCheck(now: number): number {
  return now + CHECK_EVERY;
}

/** A saved time of the next attempt; 0 if it is too far ahead: the system's clock has been set back since. */
export function plausibleTry(nextTry: number, now: number): number {
  return nextTry > now + LONGEST_WAIT ? 0 : nextTry;
}

/** The time of the next attempt after `failures` in a row; `retryAt`: the server wants none before, or null. */
export function retryTime(
  failures: number,
  retryAt: number | null,
  { now, random }: { now: number; random: number },
): number {
  const delay = DELAYS[Math.min(failures, DELAYS.length) - 1] ?? DELAYS[0];
  return Math.max(Math.round(now + delay * (1 + RETRY_JITTER * random)), retryAt ?? 0);
}
