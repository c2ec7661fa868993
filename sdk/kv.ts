import { STATUS } from "./abi";
import { Bytes } from "./binary";
import { KEY, KEY_CAP, VALUE, VALUE_CAP, decode, encode } from "./bytes";
import { kv_compare_and_set, kv_delete, kv_find, kv_get, kv_increment, kv_list, kv_set } from "./imports";
import { check } from "./status";

/** Where the host writes a version, a sum or a cursor. */
const NUMBER: usize = memory.data(8, 8);

/**
 * A namespace of the key-value store that all threads of the proxy share. Name it at the top of the file; one that the
 * plugin's configuration does not allow is refused when it is loaded:
 *
 *     const sessions = kv("sessions"); // allow: { kv: [sessions] }
 */
export function kv(namespace: string): KeyValue {
  const number = kv_find(KEY, encode(namespace, KEY, KEY_CAP));
  check(number, "cannot use key-value namespace", namespace);
  return new KeyValue(number);
}

/** A value and its version. */
// @ts-ignore: decorator
@final
export class Entry {
  /** For `compareAndSet`: another at each write, and never the same again. */
  readonly version: f64;

  constructor(
    /** The text that was set; a counter as decimal digits. */
    readonly value: string,
    version: f64,
  ) {
    this.version = version;
  }
}

/**
 * Entries that outlive the request, the guest and a reload, and are lost with the process. Any may go before its time to
 * make room for others: keep there what can be made again. Keys are 1 to 256 bytes of UTF-8, values at most 64 KiB.
 *
 * Times to live are milliseconds by the wall clock, to about 50 ms; 0 is no end. Not in `configure`, nor at the top of
 * the file. What a hook has written stays when the hook fails. A part of the store that another thread holds for some
 * milliseconds is an error here, after three attempts.
 */
// @ts-ignore: decorator
@final
export class KeyValue {
  /** Of `kv`. */
  constructor(private namespace: i32) {}

  /** The value of this key, or null. */
  get(key: string): string | null {
    const length = this.load(key, 0);
    return length < 0 ? null : decode(VALUE, length);
  }

  /** The value of this key and its version, or null. */
  getEntry(key: string): Entry | null {
    const length = this.load(key, NUMBER);
    return length < 0 ? null : new Entry(decode(VALUE, length), load<f64>(NUMBER));
  }

  /** The value of this key as bytes, or null. */
  getBytes(key: string): Bytes | null {
    const length = this.load(key, 0);
    if (length < 0) return null;
    const bytes = new StaticArray<u8>(length);
    memory.copy(changetype<usize>(bytes), VALUE, length);
    return bytes;
  }

  /** Is there a value? */
  has(key: string): bool {
    return this.load(key, 0) >= 0;
  }

  /** Sets the value, for `ttl` milliseconds from now. */
  set(key: string, value: string, ttl: f64 = 0): void {
    this.store(key, VALUE, encode(value, VALUE, VALUE_CAP), ttl);
  }

  /** Sets these bytes, for `ttl` milliseconds from now. */
  setBytes(key: string, value: Bytes, ttl: f64 = 0): void {
    this.store(key, changetype<usize>(value), value.length, ttl);
  }

  /**
   * Sets the value when the entry's version is still this one; false when another has written or deleted meanwhile.
   * Version 0 sets it only when there is no entry.
   */
  compareAndSet(key: string, version: f64, value: string, ttl: f64 = 0): bool {
    const length = encode(value, VALUE, VALUE_CAP);
    const keyLength = encode(key, KEY, KEY_CAP);
    let answer = kv_compare_and_set(this.namespace, KEY, keyLength, VALUE, length, ttl, version);
    for (let i = 0; i < 2 && answer == STATUS.busy; i++)
      answer = kv_compare_and_set(this.namespace, KEY, keyLength, VALUE, length, ttl, version);
    check(answer, "cannot set", key);
    return answer == 1;
  }

  /**
   * Adds a whole number and returns the sum; an entry that is not there counts as 0. `ttl` is for a counter that this
   * call makes: one that counts already keeps its end, so that it is a window and not a lease.
   */
  increment(key: string, by: f64 = 1, ttl: f64 = 0): f64 {
    const length = encode(key, KEY, KEY_CAP);
    let answer = kv_increment(this.namespace, KEY, length, by, ttl, NUMBER);
    for (let i = 0; i < 2 && answer == STATUS.busy; i++)
      answer = kv_increment(this.namespace, KEY, length, by, ttl, NUMBER);
    check(answer, "cannot increment", key);
    return load<f64>(NUMBER);
  }

  /** Deletes the entry; false when there was none. */
  delete(key: string): bool {
    const length = encode(key, KEY, KEY_CAP);
    let answer = kv_delete(this.namespace, KEY, length);
    for (let i = 0; i < 2 && answer == STATUS.busy; i++) answer = kv_delete(this.namespace, KEY, length);
    if (answer != STATUS.absent) check(answer, "cannot delete", key);
    return answer == STATUS.ok;
  }

  /**
   * Keys that begin with `prefix`, in no order, at most `limit`. It looks at every entry of the namespace's part of the
   * store, and pays fuel for each: for housekeeping, not for requests.
   */
  list(prefix: string = "", limit: i32 = 1000): string[] {
    const keys: string[] = [];
    const length = encode(prefix, KEY, KEY_CAP);
    let cursor: f64 = 0;
    do {
      let bytes = kv_list(this.namespace, KEY, length, cursor, VALUE, VALUE_CAP, NUMBER);
      for (let i = 0; i < 2 && bytes == STATUS.busy; i++)
        bytes = kv_list(this.namespace, KEY, length, cursor, VALUE, VALUE_CAP, NUMBER);
      check(bytes, "cannot list", prefix);
      cursor = load<f64>(NUMBER);
      let at: i32 = 0;
      while (at < bytes && keys.length < limit) {
        const size = load<i32>(VALUE + at);
        keys.push(decode(VALUE + at + 4, size));
        at += 4 + size;
      }
    } while (cursor != 0 && keys.length < limit);
    return keys;
  }

  private load(key: string, version: usize): i32 {
    const length = encode(key, KEY, KEY_CAP);
    let answer = kv_get(this.namespace, KEY, length, VALUE, VALUE_CAP, version);
    for (let i = 0; i < 2 && answer == STATUS.busy; i++)
      answer = kv_get(this.namespace, KEY, length, VALUE, VALUE_CAP, version);
    if (answer != STATUS.absent) check(answer, "cannot get", key);
    return answer;
  }

  private store(key: string, value: usize, valueLength: i32, ttl: f64): void {
    const length = encode(key, KEY, KEY_CAP);
    let answer = kv_set(this.namespace, KEY, length, value, valueLength, ttl);
    for (let i = 0; i < 2 && answer == STATUS.busy; i++)
      answer = kv_set(this.namespace, KEY, length, value, valueLength, ttl);
    check(answer, "cannot set", key);
  }
}
