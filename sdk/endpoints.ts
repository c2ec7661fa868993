import { COLUMN, ENDPOINT_TEXT } from "./abi";
import { VALUE, VALUE_CAP, decode } from "./bytes";
import { column_read, endpoint, endpoint_count, endpoint_text } from "./imports";
import { Roster } from "./roster";

/** Up to here asking for one number at a time is cheaper than for a whole column. */
const FEW: i32 = 8;

let inFlights: StaticArray<i32> = new StaticArray<i32>(0);
let latencies: StaticArray<i32> = new StaticArray<i32>(0);
let errorRates: StaticArray<i32> = new StaticArray<i32>(0);
let latencyAges: StaticArray<i32> = new StaticArray<i32>(0);
/** Columns that this call has read whole, a bit each. */
let loaded: i32 = 0;

/** Before a call of `update`, while memory is still kept: brings the SDK's own tables in line with the host's. */
export function refreshEndpoints(): void {
  const count = endpoint_count();
  if (Roster.reserve(count)) {
    inFlights = new StaticArray<i32>(Roster.capacity);
    latencies = new StaticArray<i32>(Roster.capacity);
    errorRates = new StaticArray<i32>(Roster.capacity);
    latencyAges = new StaticArray<i32>(Roster.capacity);
  }
  Roster.refresh(count);
  loaded = 0;
}

/** Before a call of `pick`: the list may be shorter than at the last `update`, when the host asks again. */
export function beginPick(): void {
  const count = endpoint_count();
  if (count > Roster.known) refreshEndpoints();
  else Roster.present(count);
  loaded = 0;
}

/**
 * The endpoints to choose from. An index counts from 0 to `length` - 1 and holds for this call only: keep state in a
 * `PerEndpoint`, or by `id`, never by index.
 */
// @ts-ignore: decorator
@final
export class Endpoints {
  /** How many there are. */
  get length(): i32 {
    return Roster.count;
  }

  /** A number for the endpoint that outlives re-ordering and reload. */
  // @ts-ignore: decorator
  @inline
  id(index: i32): i32 {
    return unchecked(Roster.ids[Roster.row(index)]);
  }

  /** The configured weight, 1 to 1000. */
  // @ts-ignore: decorator
  @inline
  weight(index: i32): i32 {
    return unchecked(Roster.weights[Roster.row(index)]);
  }

  /** 32 bits of a hash over the address: the same in every process. */
  // @ts-ignore: decorator
  @inline
  hash(index: i32): u32 {
    return <u32>unchecked(Roster.hashes[Roster.row(index)]);
  }

  /** 32 bits of a hash over the zone's name; 0 without a zone. */
  // @ts-ignore: decorator
  @inline
  zone(index: i32): u32 {
    return <u32>unchecked(Roster.zones[Roster.row(index)]);
  }

  /** Requests in flight over all threads of this process. */
  inFlight(index: i32): i32 {
    return read(COLUMN.in_flight, inFlights, index);
  }

  /**
   * A decaying average of the time to the response's head, microseconds; 0 until there is a sample. Without responses it
   * fades: ten seconds after the last one it begins to halve every ten seconds.
   */
  latency(index: i32): i32 {
    return read(COLUMN.latency, latencies, index);
  }

  /** Milliseconds since the response that moved `latency` last, to about 50 ms; 0 without a sample. */
  latencyAge(index: i32): i32 {
    return read(COLUMN.latency_age, latencyAges, index);
  }

  /** A decaying average of failed attempts, parts per million. It fades as `latency` does, after the last attempt. */
  errorRate(index: i32): i32 {
    return read(COLUMN.error_rate, errorRates, index);
  }

  /** The address as configured. */
  address(index: i32): string {
    return text(index, ENDPOINT_TEXT.address);
  }

  /** The zone's name; empty without one. */
  zoneName(index: i32): string {
    return text(index, ENDPOINT_TEXT.zone);
  }
}

// @ts-ignore: decorator
@lazy export const endpoints = new Endpoints();

/** A number that moves between calls. Who begins at 0 most likely reads them all: then one host call brings them. */
// @ts-ignore: decorator
@inline
function read(column: i32, values: StaticArray<i32>, index: i32): i32 {
  const count = Roster.count;
  if (<u32>index >= <u32>count) outside(index);
  if (loaded & (1 << column)) return unchecked(values[index]);
  if (index != 0 || count <= FEW) return endpoint(index, column);
  column_read(column, changetype<usize>(values), count << 2);
  loaded |= 1 << column;
  return unchecked(values[0]);
}

function text(index: i32, what: i32): string {
  if (<u32>index >= <u32>Roster.count) outside(index);
  const length = endpoint_text(index, what, VALUE, VALUE_CAP);
  return length > VALUE_CAP ? "" : decode(VALUE, length);
}

function outside(index: i32): void {
  throw new RangeError(`endpoint ${index} of ${Roster.count}`);
}
