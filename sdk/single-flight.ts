import { sleep } from "./fetch";
import { KeyValue } from "./kv";

/** Loads the value of a key: null when it cannot be had. */
export type Loader = (key: string) => string | null;

/** The value of a lock: the load is under way, or has failed. */
const LOADING = "1";
const FAILED = "0";

/** Milliseconds between two looks, at first and at most. */
const FIRST_PAUSE: i32 = 4;
const LAST_PAUSE: i32 = 32;

/**
 * A cache that loads each value once: of all requests on all threads that miss a key at one time, one calls the loader,
 * and the others wait for its result. Make it at the top of the file:
 *
 *     const store = kv("profiles"); // allow: { kv: [profiles], fetch: ["cluster:users"] }
 *     function load(user: string): string | null {
 *       const response = new Fetch("cluster:users/" + user).send();
 *       return response.ok ? response.text() : null;
 *     }
 *     const profiles = new SingleFlight(store, load, 60_000);
 *     export function onRequest(req: Request): void { const profile = profiles.get("ann"); … }
 *
 * Only in hooks that may wait. A request that waits is one of `limits.guests`, and `limits.time` bounds its wait.
 */
// @ts-ignore: decorator
@final
export class SingleFlight {
  /**
   * Values stand in `space` for `ttl` milliseconds. A load that takes longer than `lease`, or whose guest has failed, is
   * begun by another request. A null is what all get that wait for it or ask within `failedFor` milliseconds after it,
   * so that a service that is down is not asked by each of them.
   */
  constructor(
    private space: KeyValue,
    private loader: Loader,
    private ttl: f64,
    private lease: f64 = 5000,
    private failedFor: f64 = 1000,
  ) {}

  /** The value of this key, of 1 to 255 bytes, loaded if it is not there; null when it cannot be had. */
  get(key: string): string | null {
    const lock = "\0" + key;
    let pause = FIRST_PAUSE;
    while (true) {
      const value = this.space.get(key);
      if (value !== null) return value;
      const entry = this.space.getEntry(lock);
      if (entry === null) {
        if (this.space.compareAndSet(lock, 0, LOADING, this.lease)) return this.load(key, lock);
      } else if (entry.value == FAILED) return null;
      sleep(pause);
      pause = min(pause << 1, LAST_PAUSE);
    }
  }

  /** Removes the value, so that the next request loads it. */
  delete(key: string): void {
    this.space.delete(key);
  }

  private load(key: string, lock: string): string | null {
    // It may have come between the look at the value and the lock.
    const present = this.space.get(key);
    const value = present !== null ? present : this.loader(key);
    if (value === null && this.failedFor > 0) this.space.set(lock, FAILED, this.failedFor);
    else {
      if (value !== null && present === null) this.space.set(key, value, this.ttl);
      this.space.delete(lock);
    }
    return value;
  }
}
