/**
 * How the shared memory of the key-value store is laid out. All offsets are bytes, and multiples of 8.
 *
 *   seed │ shard 0 │ shard 1 │ …            each shard: head │ chains │ bits of chains │ ring of records
 *
 * The ring holds the records of a shard in the order in which they were written, the oldest at `tail`, free space from
 * `head` on. A chain links the records whose hash ends in its number; its bit is set while it has any. Everything else
 * can be rebuilt from the ring.
 */
/** The header of the store: two words of seed. */
export const PREFIX = 64;

/** Most namespaces of a process; numbers are never reassigned. */
export const MAX_NAMESPACES = 128;

/** The header of a shard: byte offsets of words (4 bytes) and floats (8 bytes). */
export const SHARD = {
  lock: 0,
  waiters: 4,
  head: 8,
  tail: 12,
  /** Number of namespaces with at least one record in the shard. */
  active: 16,
  /** Float: the version of the last write. */
  version: 24,
  /** By namespace: bytes and number of its records. */
  bytes: 64,
  entries: 64 + 4 * MAX_NAMESPACES,
  /** Floats by namespace: evicted records, and records found expired. */
  evicted: 64 + 8 * MAX_NAMESPACES,
  expired: 64 + 16 * MAX_NAMESPACES,
  size: 64 + 24 * MAX_NAMESPACES,
} as const;

/** The header of a record; the key and the value follow, each padded to 8 bytes. */
export const RECORD = {
  /** Its size, a multiple of 8; the lowest bits are STATE. */
  state: 0,
  /** The next record of the chain, as an offset in the ring plus 1; 0: none. */
  next: 4,
  hash: 8,
  /** Namespace, and the key's length in the upper half. */
  key: 12,
  /** Bytes of the value; COUNTER: a float. */
  length: 16,
  /** Float: milliseconds since 1970, or Infinity. */
  expires: 24,
  /** Float. */
  version: 32,
  size: 40,
} as const;

export const COUNTER = -1;

/** No bit: unused space. `used`: read since it was last moved to the head. `writing`: its value is incomplete. */
export const STATE = { live: 1, used: 2, writing: 4, all: 7 } as const;

const MIN_SHARD = 256 * 1024;
const MAX_SHARDS = 256;

export type Layout = {
  readonly shards: number;
  /** Bytes of a shard. */
  readonly shardSize: number;
  /** Chains of a shard; a power of two. */
  readonly chains: number;
  /** Offset in the shard of the chains' bits, 32 in a word. */
  readonly bits: number;
  /** Offset of the ring in its shard, and its size. */
  readonly ring: number;
  readonly ringSize: number;
};

/** Chooses the shards: each fits several of the largest records, and there are more shards than threads that use one. */
export function layOut(size: number): Layout {
  const space = size - PREFIX;
  const shards = Math.max(1, Math.min(MAX_SHARDS, 2 ** Math.floor(Math.log2(size / MIN_SHARD))));
  const shardSize = Math.floor(space / shards / 64) * 64;
  const chains = 2 ** Math.floor(Math.log2(shardSize / 48));
  const bits = SHARD.size + 4 * chains;
  const ring = bits + pad(chains >>> 3);
  return { shards, shardSize, chains, bits, ring, ringSize: shardSize - ring };
}

export function pad(length: number): number {
  return (length + 7) & ~7;
}
