/**
 * The interface of the key-value store for host calls. An overlay that discards writes (dry run, tests) implements it
 * too.
 */

const NOTHING = Buffer.alloc(0);

/** Operands and results of one operation: one object for each guest, filled anew for each, so that a call makes none. */
export class Operation {
  namespace = 0;
  /** The key is `key[keyStart, keyEnd)`, in `list` a prefix; it is valid for the time of the operation only. */
  key: Buffer = NOTHING;
  keyStart = 0;
  keyEnd = 0;
  value: Buffer = NOTHING;
  valueStart = 0;
  valueEnd = 0;
  /** Milliseconds since 1970. */
  now = 0;
  /** Time to live, milliseconds; 0: until evicted. */
  ttl = 0;
  /** In: the version that is replaced, 0 for no entry. Out: the version of the entry read or written. */
  version = 0;
  /** In: what is added. Out: the sum. */
  number = 0;
  /** In: where `list` goes on, 0 for the beginning. Out: where the next call does, 0 for nowhere. */
  cursor = 0;
  /** Where what is read goes: at `out[outStart]`, when it has at most `cap` bytes. */
  out: Buffer = NOTHING;
  outStart = 0;
  cap = 0;
  /** Out: cost of the operation as bytes read and moved; 64 cost one unit of fuel. */
  work = 0;
}

/** Each returns what the host call of its name does (`sluice:kv/1`): a length, a count or `ok`, or a STATUS below 0. */
export interface KeyValue {
  get(operation: Operation): number;
  set(operation: Operation): number;
  /** 1: set; 0: the entry has another version, or does not exist. */
  compareAndSet(operation: Operation): number;
  increment(operation: Operation): number;
  delete(operation: Operation): number;
  /** Bytes written to `out`: for each key a u32 of its length, then its bytes. */
  list(operation: Operation): number;
}
