/**
 * The price list of fuel: the cost of each instruction, such that a unit of fuel takes at most PRICE.nanoseconds.
 *
 * Surcharges are in 1/64 of a unit of fuel. An instruction costs its length in bytes plus the surcharge of its class. Code
 * is charged where it is entered (`plugin/wasm/meter-sites.ts`): a function and each loop iteration cost a fixed price plus
 * the sum of the code that always runs from there, and of short stretches after branches, whether or not they run.
 *
 * A surcharge is the worst measured time of the class (`npm run bench -- prices`: unoptimised and optimised code, cold
 * caches, memory of 16 MiB, AMD EPYC under load), divided by PRICE.nanoseconds and rounded up. Where Intel processors are
 * known to be slower (64-bit division, subnormal numbers), their time is used.
 */
import { FUEL } from "./abi.ts";

export const PRICE = {
  /** Surcharge units per unit of fuel. */
  perUnit: 64,
  /** Bytes filled or copied per unit; a power of two. Measured: 4 ns in caches, 50 ns outside. */
  bulkBytes: 256,
  /** Target for a unit of the worst mix, in nanoseconds; `bench prices` marks values above it. */
  nanoseconds: 75,
  /** Code that may be skipped is charged where it begins, unless it costs less than this (1/64 units). */
  shortest: 512,
  /** Units for entering a function. Cold code, unoptimised: 140 ns. */
  entry: 2,
  /** Units per loop iteration. */
  turn: 1,
  /** 1/64 units per local, which is cleared at entry. Measured: 0.6 ns. */
  local: 8,
  /** Units per throw; unwound frames were charged at entry. Measured: 0.3 µs, and 0.1 µs per frame. */
  throw: 256,
  /**
   * Units per table entry that is copied, filled, initialised or added, and per entry of the source segment. Measured:
   * up to 2 µs, at the first use of a function.
   */
  tableEntry: 32,
  /** Units per growth of memory, and per page of 64 KiB: 16 page faults of up to 2 µs. */
  grow: 1000,
  growPage: 1024,
} as const;

/** Surcharges by class, in 1/64 of a unit. */
export const SURCHARGE = {
  /** Reads memory: a cache and TLB miss in a dependent chain, 110 to 145 ns. */
  load: 128,
  /** Writes memory: misses overlap; 20 ns. */
  store: 8,
  /** Atomic read, write or notify: a cache miss that cannot overlap. */
  atomic: 160,
  /** Completes all pending writes: 190 ns. */
  fence: 256,
  /** Integer division and remainder: 4 ns, 25 ns on older processors. */
  divide: 16,
  /** Floating point and conversions: 6 ns, but 50 ns (150 cycles) for subnormal numbers on Intel. */
  float: 32,
  /** Vector instructions. */
  vector: 32,
  /** Calls through a table or reference, with cold target, signature and code: 400 ns, with the target's entry. */
  indirect: 256,
  /** `ref.func`: the reference is created at the first use, 1 µs. */
  function: 896,
  /** `table.get` of an unused entry: 290 ns. */
  tableGet: 256,
  /** `table.set`: 45 ns, more for cold entries. */
  tableSet: 128,
  /** A bulk memory operation in addition to its length: two cold locations, 60 ns. */
  bulkMemory: 128,
  /** A bulk table operation in addition to its entries. */
  bulkTable: 128,
  /** `data.drop`, `elem.drop`. */
  drop: 16,
} as const;

/**
 * The cost of host calls in addition to `FUEL.hostCall`, in bytes: 64 cost a unit. Each byte of the guest's memory that a
 * call reads or writes counts as one. Measured like instructions, with heads of 500 fields and lists of 2,000 keys.
 */
export const WORK = {
  /** Per header that is examined: 5 ns. */
  field: 16,
  /** Per byte of a name or value that is validated: 2 ns. */
  checkedByte: 4,
  /** Per header that `head_read` returns. */
  givenField: 64,
  /** Per byte of a path or query that is normalised. */
  targetByte: 8,
  /** Per key that is looked up for a configuration path, and per byte of it; per entry of a map or list. */
  configKey: 512,
  configByte: 4,
  configEntry: 128,
  /** Per byte of a column: requests in flight are summed over all workers. */
  columnByte: 4,
  /** Per byte that the host copies and stores: exchange values, bodies, responses, saved state. Garbage collection takes
   * five times as long as the copy. */
  keptByte: 8,
  /** A metric definition, which is validated and compared. */
  metric: 6400,
  /** A subrequest, which is parsed and validated, and per byte of it. */
  fetch: 12_800,
  fetchByte: 4,
  /** 32 chains, and a shard, of the key-value store that is searched. */
  chains: 64,
  shard: 64,
  /** A record that is examined, and one that is unlinked from its chain: both are cold, 200 and 400 ns; several times that
   * when a full store is listed during other traffic. */
  record: 2048,
  removal: 512,
  /** A timeout for the lock of a shard: 10 ms. */
  busy: 3_200_000,
} as const;

const surcharges = new Uint16Array(256);
const charge = (price: number, from: number, to = from) => surcharges.fill(price, from, to + 1);
charge(SURCHARGE.indirect, 0x11);
charge(SURCHARGE.indirect, 0x13, 0x15);
charge(SURCHARGE.tableGet, 0x25);
charge(SURCHARGE.tableSet, 0x26);
charge(SURCHARGE.load, 0x28, 0x35);
charge(SURCHARGE.store, 0x36, 0x3e);
charge(SURCHARGE.divide, 0x6d, 0x70);
charge(SURCHARGE.divide, 0x7f, 0x82);
charge(SURCHARGE.float, 0x8b, 0xa6);
charge(SURCHARGE.float, 0xa8, 0xab);
charge(SURCHARGE.float, 0xae, 0xbb);
charge(SURCHARGE.function, 0xd2);

/** Surcharge of an instruction in 1/64 of a unit. `sub`: the number after a prefix byte. */
export function surchargeOf(opcode: number, sub: number): number {
  switch (opcode) {
    case 0xfc:
      return surchargeOfBulk(sub);
    case 0xfd:
      return surchargeOfVector(sub);
    case 0xfe:
      return sub === 3 ? SURCHARGE.fence : SURCHARGE.atomic;
    default:
      return surcharges[opcode]!;
  }
}

function surchargeOfBulk(sub: number): number {
  if (sub < 8) return SURCHARGE.float;
  if (sub === 9 || sub === 13) return SURCHARGE.drop;
  return sub <= 11 ? SURCHARGE.bulkMemory : sub === 16 ? 0 : SURCHARGE.bulkTable;
}

/** Order of the cases: loads including single lanes, stores including single lanes, constants and shuffles, others. */
function surchargeOfVector(sub: number): number {
  if (sub <= 10 || (sub >= 84 && sub <= 87) || sub === 92 || sub === 93) return SURCHARGE.load;
  if (sub === 11 || (sub >= 88 && sub <= 91)) return SURCHARGE.store;
  return sub === 12 || sub === 13 ? 0 : SURCHARGE.vector;
}

/** Fuel is an i32 in the guest. */
const MOST_FUEL = 2 ** 31 - 1;

/** The fuel budget of a hook call that can read `seen` bytes; `base`: `limits.fuel`. */
export function fuelFor(base: number, seen: number): number {
  return Math.min(base + FUEL.perByte * seen, MOST_FUEL);
}

/** The fuel budget of start-up code or `configure`; `configBytes`: the size of the configuration. */
export function fuelToStart(configBytes: number): number {
  return Math.min(FUEL.start + FUEL.perConfigByte * configBytes, MOST_FUEL);
}

/** Number of bytes up to which the budget grows. */
export function mostSeen(base: number): number {
  return Math.floor((MOST_FUEL - base) / FUEL.perByte);
}
