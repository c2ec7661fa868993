import { sleep } from "./fetch";
import { KeyValue } from "./kv";

/** Loads the value of a key; null if it is unavailable. */
export type Loader = (key: string) => string | null;

/** Values of a lock: a load is in progress, or has failed. */
const LOADING = "1";
const FAILED = "0";

/** First and longest polling interval, in milliseconds. */
const FIRST_PAUSE: i32 = 4;
const LAST_PAUSE: i32 = 32;

/**
 * A cache that loads each value once: if several requests, in any worker, miss a key at the same time, one calls the
 * loader and the others wait for its result. Create it at the top of the file:
 *
 *     const store = kv("profiles"); // allow: { kv: [profiles], fetch: ["cluster:users"] }
 *     function load(user: string): string | null {
 *       const response = new Fetch("cluster:users/" + user).send();
 *       return response.ok ? response.text() : null;
 *     }
 *     const profiles = new SingleFlight(store, load, 60_000);
 *     export function onRequest(req: Request): void { const profile = profiles.get("ann"); … }
 *
 * Available in hooks that may suspend. A suspended request uses one of `limits.guests`; `limits.time` limits its time.
 */
// @ts-ignore: decorator
@final
export class SingleFlight {
  /**
   * Values are stored in `space` for `ttl` milliseconds. If a load takes longer than `lease` milliseconds, or its guest
   * failed, another request starts a new one. If the loader returns null, so do all suspended calls and all calls within
   * `failedFor` milliseconds, so that an unavailable service does not get a request from each of them.
   */
  constructor(
    private space: KeyValue,
    private loader: Loader,
    private ttl: f64,
    private lease: f64 = 5000,
    private failedFor: f64 = 1000,
  ) {}

  /** The value of this key (1 to 255 bytes), loaded if it is not stored; null if it is unavailable. */
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
    // Another request may have stored it before the lock was acquired.
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
