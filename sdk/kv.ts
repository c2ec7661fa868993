import { STATUS } from "./abi";
import { Bytes } from "./binary";
import { KEY, KEY_CAP, VALUE, VALUE_CAP, decode, encode } from "./bytes";
import { kv_compare_and_set, kv_delete, kv_find, kv_get, kv_increment, kv_list, kv_set } from "./imports";
import { check } from "./status";

/** Output buffer for a version, a sum or a cursor. */
const NUMBER: usize = memory.data(8, 8);

/**
 * A namespace of the key-value store, which is shared by all workers. Call it at the top of the file; a namespace that
 * `allow.kv` does not include makes the configuration invalid:
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
  /** For `compareAndSet`: changes at each write, and is never reused. */
  readonly version: f64;

  constructor(
    /** The value as text; a counter as decimal digits. */
    readonly value: string,
    version: f64,
  ) {
    this.version = version;
  }
}

/**
 * Entries of a namespace. They survive requests, guests and reloads, and end with the process. An entry may be evicted at
 * any time to make room: store only what can be recreated. Keys are 1 to 256 bytes of UTF-8, values at most 64 KiB.
 *
 * Times to live are in milliseconds of the wall clock, accurate to about 50 ms; 0 means no expiry. The methods are not
 * available in `configure` and at the top of the file. What a hook has written stays if it fails. A method throws if
 * another worker holds the lock of that part of the store during three attempts of several milliseconds.
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

  /** Whether there is a value. */
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
   * Sets the value if the entry still has this version; false if it was changed or deleted meanwhile. Version 0 sets it
   * only if there is no entry.
   */
  compareAndSet(key: string, version: f64, value: string, ttl: f64 = 0): bool {
    const length = encode(value, VALUE, VALUE_CAP);
    const keyLength = encode(key, KEY, KEY_CAP);
    let status = kv_compare_and_set(this.namespace, KEY, keyLength, VALUE, length, ttl, version);
    for (let i = 0; i < 2 && status == STATUS.busy; i++)
      status = kv_compare_and_set(this.namespace, KEY, keyLength, VALUE, length, ttl, version);
    check(status, "cannot set", key);
    return status == 1;
  }

  /**
   * Adds an integer and returns the sum; a missing entry counts as 0. `ttl` applies only if the call creates the entry: an
   * existing counter keeps its expiry, so that it counts within a fixed window.
   */
  increment(key: string, by: f64 = 1, ttl: f64 = 0): f64 {
    const length = encode(key, KEY, KEY_CAP);
    let status = kv_increment(this.namespace, KEY, length, by, ttl, NUMBER);
    for (let i = 0; i < 2 && status == STATUS.busy; i++)
      status = kv_increment(this.namespace, KEY, length, by, ttl, NUMBER);
    check(status, "cannot increment", key);
    return load<f64>(NUMBER);
  }

  /** Deletes the entry; false if there was none. */
  delete(key: string): bool {
    const length = encode(key, KEY, KEY_CAP);
    let status = kv_delete(this.namespace, KEY, length);
    for (let i = 0; i < 2 && status == STATUS.busy; i++) status = kv_delete(this.namespace, KEY, length);
    if (status != STATUS.absent) check(status, "cannot delete", key);
    return status == STATUS.ok;
  }

  /**
   * Keys that start with `prefix`, unordered, at most `limit`. Visits every entry of the namespace's part of the store,
   * with fuel for each: for maintenance, not for requests.
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
    let status = kv_get(this.namespace, KEY, length, VALUE, VALUE_CAP, version);
    for (let i = 0; i < 2 && status == STATUS.busy; i++)
      status = kv_get(this.namespace, KEY, length, VALUE, VALUE_CAP, version);
    if (status != STATUS.absent) check(status, "cannot get", key);
    return status;
  }

  private store(key: string, value: usize, valueLength: i32, ttl: f64): void {
    const length = encode(key, KEY, KEY_CAP);
    let status = kv_set(this.namespace, KEY, length, value, valueLength, ttl);
    for (let i = 0; i < 2 && status == STATUS.busy; i++)
      status = kv_set(this.namespace, KEY, length, value, valueLength, ttl);
    check(status, "cannot set", key);
  }
}
