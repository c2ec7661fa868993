/**
 * The small face of the key-value store that host calls know. What stands in front of the store (an overlay that drops
 * what is written) or in its place has the same one.
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
  /** Milliseconds that the entry lives; 0: until it has to make room. */
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
  /** Out: what the operation took, as bytes looked at and moved: 64 of them cost a unit of fuel. */
  work = 0;
}

/** Each answers as the host call of its name does (`sluice:kv/1`): a length, a count or `ok`, or a STATUS below 0. */
export interface KeyValue {
  get(operation: Operation): number;
  set(operation: Operation): number;
  /** 1: set; 0: another version stands there, or none. */
  compareAndSet(operation: Operation): number;
  increment(operation: Operation): number;
  delete(operation: Operation): number;
  /** Bytes written to `out`: for each key a u32 of its length, then its bytes. */
  list(operation: Operation): number;
}
