/**
 * The price list of fuel: what each instruction costs, so that no unit of fuel takes longer than PRICE.nanoseconds.
 *
 * Unit of every surcharge: 1/64 of a unit of fuel. An instruction costs its length in bytes, plus the surcharge of its
 * class. Code is paid for where it is entered (`meter-sites.ts`): a function and each turn of a loop cost a fixed price
 * plus the sum of the code that always runs from there, and of short stretches behind branches, whether or not they run.
 *
 * A surcharge is the worst time that was measured for the class (`npm run bench -- prices`: unoptimised and optimised
 * code, cold caches, memory of 16 MiB, AMD EPYC under load), divided by PRICE.nanoseconds and rounded up generously.
 * Where Intel processors are known to be slower (division of 64 bits, subnormal numbers) that time is taken instead.
 */
import { FUEL } from "./abi.ts";

export const PRICE = {
  /** 64ths in a unit. */
  perUnit: 64,
  /** Bytes of memory filled or copied for one unit. Measured: 4 ns in caches, 50 ns outside. A power of two. */
  bulkBytes: 256,
  /** Goal for one unit of the worst mix, nanoseconds. `bench prices` marks what is above it. */
  nanoseconds: 75,
  /** Code that may be passed over is paid for where it begins, unless it costs less than this: 64ths. */
  shortest: 512,
  /** Units for entering a function. Cold code, unoptimised: 140 ns. */
  entry: 2,
  /** Units for each turn of a loop. */
  turn: 1,
  /** Each local is cleared on entry: 64ths. Measured: 0.6 ns. */
  local: 8,
  /** Units for throwing, whatever is unwound: frames were paid for when they were entered. Measured: 0.3 µs, 0.1 µs a frame. */
  throw: 256,
  /** Units for one entry of a table that is copied, filled, initialised or added, and for each entry of the segment that it is initialised from. Measured: up to 2 µs, at the first use of a function. */
  tableEntry: 32,
  /** Units for growing memory, and for each page of 64 KiB of it: 16 page faults of up to 2 µs. */
  grow: 1000,
  growPage: 1024,
} as const;

/** Surcharges by class, in 64ths of a unit. */
export const SURCHARGE = {
  /** Reads memory: a cache and TLB miss in a dependent chain, 110 to 145 ns. */
  load: 128,
  /** Writes memory: misses overlap; 20 ns. */
  store: 8,
  /** Atomic read, write, or notify: a miss that cannot overlap. */
  atomic: 160,
  /** Waits for all writes that are under way: 190 ns. */
  fence: 256,
  /** Integer division and remainder: 4 ns, 25 ns on older processors. */
  divide: 16,
  /** Floating point and conversions: 6 ns, but 50 ns (150 cycles) for subnormal numbers on Intel. */
  float: 32,
  /** Vectors of any kind. */
  vector: 32,
  /** Calls through a table or reference: target, signature and code are all cold. 400 ns. */
  indirect: 256,
  /** A function reference is made at its first use: 1 µs. */
  function: 512,
  /** `table.get` of an entry that was not yet used: 290 ns. */
  tableGet: 192,
  /** `table.set`: 45 ns, and cold entries. */
  tableSet: 128,
  /** A bulk operation of memory, beside its length: two cold places, 60 ns. */
  bulkMemory: 128,
  /** A bulk operation of a table, beside its entries. */
  bulkTable: 128,
  /** `data.drop`, `elem.drop`. */
  drop: 16,
} as const;

/**
 * What host calls cost beside `FUEL.hostCall`, as bytes: 64 of them cost a unit. Bytes of the guest's memory that a call
 * reads or writes count one each. Measured as instructions are, with heads of 500 fields and lists of 2,000 keys.
 */
export const WORK = {
  /** Each field of a head that is passed: 5 ns. */
  field: 16,
  /** Each byte of a name or value that is checked before it is set: 2 ns. */
  checkedByte: 4,
  /** Each field that `head_read` hands out. */
  givenField: 64,
  /** Each byte of a path or query that is normalised. */
  targetByte: 8,
  /** Each key that a path of the configuration may begin with, and each byte of it; each entry of a map or list. */
  configKey: 512,
  configByte: 4,
  configEntry: 128,
  /** Each byte of a column: the sum of all threads' requests in flight. */
  columnByte: 4,
  /** Each byte that the host keeps a copy of: values of an exchange, bodies, responses, saved state. What is thrown away is
   * collected later, which takes five times as long as the copy. */
  keptByte: 8,
  /** A definition of a metric that is checked and compared. */
  metric: 6400,
  /** A request that is read and checked, and each byte of it. */
  fetch: 12_800,
  fetchByte: 4,
  /** A chain or a shard of the key-value store that is asked for records, or has none. */
  chain: 16,
  shard: 64,
  /** A record that is looked at, and one that is taken out of its chain: both lie anywhere in memory, 200 and 400 ns
   * alone; listing a full store beside other traffic, several times that. */
  record: 2048,
  removal: 512,
  /** Waiting for the lock of a shard in vain: 10 ms. */
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

/** The surcharge of an instruction, in 64ths of a unit. `sub`: the number after a prefix byte. */
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

/** Loads, also of one lane; stores, also of one lane; constants and shuffles; all else. */
function surchargeOfVector(sub: number): number {
  if (sub <= 10 || (sub >= 84 && sub <= 87) || sub === 92 || sub === 93) return SURCHARGE.load;
  if (sub === 11 || (sub >= 88 && sub <= 91)) return SURCHARGE.store;
  return sub === 12 || sub === 13 ? 0 : SURCHARGE.vector;
}

/** Fuel is an i32 in the guest. */
const MOST_FUEL = 2 ** 31 - 1;

/** Units for a call that sees so many bytes; `base` is `limits.fuel`. */
export function fuelFor(base: number, seen: number): number {
  return Math.min(base + FUEL.perByte * seen, MOST_FUEL);
}

/** Units for start-up code or `configure` with so many bytes of configuration. */
export function fuelToStart(configBytes: number): number {
  return Math.min(FUEL.start + FUEL.perConfigByte * configBytes, MOST_FUEL);
}

/** Bytes up to which fuel grows. */
export function mostSeen(base: number): number {
  return Math.floor((MOST_FUEL - base) / FUEL.perByte);
}
