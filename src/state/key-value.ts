/** The key-value store for host calls. An overlay that discards writes (dry run, tests) implements it too. */

const NOTHING = Buffer.alloc(0);

/** Operands and results of one operation: one reused object per guest, so that a call allocates nothing. */
export class Operation {
  namespace = 0;
  /** The key is `key[keyStart, keyEnd)`, in `list` a prefix; valid during the operation only. */
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
  /** In: the version to replace, 0 for no entry. Out: the version of the entry that was read or written. */
  version = 0;
  /** In: the number to add. Out: the sum. */
  number = 0;
  /** In: where `list` continues, 0 for the beginning. Out: the cursor of the next call, 0 at the end. */
  cursor = 0;
  /** The output is written to `out[outStart]` if it has at most `cap` bytes. */
  out: Buffer = NOTHING;
  outStart = 0;
  cap = 0;
  /** Out: cost of the operation as bytes read and moved; 64 cost one unit of fuel. */
  work = 0;
}

/** Each method returns the result of the host call of its name (`sluice:kv/1`): a length, a count, or a STATUS. */
export interface KeyValue {
  get(operation: Operation): number;
  set(operation: Operation): number;
  /** 1: set; 0: the entry has another version, or does not exist. */
  compareAndSet(operation: Operation): number;
  increment(operation: Operation): number;
  delete(operation: Operation): number;
  /** Writes a u32 length and the bytes of each key; returns the number of bytes. */
  list(operation: Operation): number;
}
