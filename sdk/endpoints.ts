import { COLUMN, ENDPOINT_TEXT } from "./abi";
import { VALUE, VALUE_CAP, decode } from "./bytes";
import { column_read, endpoint, endpoint_count, endpoint_text } from "./imports";
import { EndpointTable } from "./endpoint-table";

/** Up to this number of endpoints reading single values is cheaper than a whole column. */
const FEW: i32 = 8;

let inFlights: StaticArray<i32> = new StaticArray<i32>(0);
let latencies: StaticArray<i32> = new StaticArray<i32>(0);
let errorRates: StaticArray<i32> = new StaticArray<i32>(0);
let latencyAges: StaticArray<i32> = new StaticArray<i32>(0);
/** Bit mask of the columns that this call has read whole. */
let loaded: i32 = 0;

/** Called before `update`, outside of the arena: synchronises the SDK's tables with the host's. */
export function refreshEndpoints(): void {
  const count = endpoint_count();
  if (EndpointTable.reserve(count)) {
    inFlights = new StaticArray<i32>(EndpointTable.capacity);
    latencies = new StaticArray<i32>(EndpointTable.capacity);
    errorRates = new StaticArray<i32>(EndpointTable.capacity);
    latencyAges = new StaticArray<i32>(EndpointTable.capacity);
  }
  EndpointTable.refresh(count);
  loaded = 0;
}

/** Called before `pick`: in a retry the list may be shorter than at the last `update`. */
export function beginPick(): void {
  const count = endpoint_count();
  if (count > EndpointTable.known) refreshEndpoints();
  else EndpointTable.present(count);
  loaded = 0;
}

/**
 * The endpoints that may be picked, in `update` and `pick`. An index is 0 to `length` - 1 and valid only within the call:
 * store state in a `PerEndpoint` or by `id`, never by index. An index out of range throws.
 */
// @ts-ignore: decorator
@final
export class Endpoints {
  /** Number of endpoints. */
  get length(): i32 {
    return EndpointTable.count;
  }

  /** Identifies the endpoint within the process, across reordering and reloads. */
  // @ts-ignore: decorator
  @inline
  id(index: i32): i32 {
    return unchecked(EndpointTable.ids[EndpointTable.row(index)]);
  }

  /** The configured weight, 1 to 1000. */
  // @ts-ignore: decorator
  @inline
  weight(index: i32): i32 {
    return unchecked(EndpointTable.weights[EndpointTable.row(index)]);
  }

  /** 32-bit FNV-1a hash of the address: the same in every process. */
  // @ts-ignore: decorator
  @inline
  hash(index: i32): u32 {
    return <u32>unchecked(EndpointTable.hashes[EndpointTable.row(index)]);
  }

  /** 32-bit FNV-1a hash of the zone's name; 0 without a zone. */
  // @ts-ignore: decorator
  @inline
  zone(index: i32): u32 {
    return <u32>unchecked(EndpointTable.zones[EndpointTable.row(index)]);
  }

  /** Requests in flight, of all workers. */
  inFlight(index: i32): i32 {
    return read(COLUMN.in_flight, inFlights, index);
  }

  /**
   * Exponentially weighted average of the time from pick to response head, in microseconds; 0 without a sample. From ten
   * seconds after the last response on it halves every ten seconds.
   */
  latency(index: i32): i32 {
    return read(COLUMN.latency, latencies, index);
  }

  /** Milliseconds since the last response that updated `latency`, in steps of about 50; 0 without a sample. */
  latencyAge(index: i32): i32 {
    return read(COLUMN.latency_age, latencyAges, index);
  }

  /** Exponentially weighted share of failed attempts, in parts per million; decays like `latency`, after the last attempt. */
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

/** A value that changes between calls. Starting at index 0 suggests a loop: then the whole column is read at once. */
// @ts-ignore: decorator
@inline
function read(column: i32, values: StaticArray<i32>, index: i32): i32 {
  const count = EndpointTable.count;
  if (<u32>index >= <u32>count) outside(index);
  if (loaded & (1 << column)) return unchecked(values[index]);
  if (index != 0 || count <= FEW) return endpoint(index, column);
  column_read(column, changetype<usize>(values), count << 2);
  loaded |= 1 << column;
  return unchecked(values[0]);
}

function text(index: i32, what: i32): string {
  if (<u32>index >= <u32>EndpointTable.count) outside(index);
  const length = endpoint_text(index, what, VALUE, VALUE_CAP);
  return length > VALUE_CAP ? "" : decode(VALUE, length);
}

function outside(index: i32): void {
  throw new RangeError(`endpoint ${index} of ${EndpointTable.count}`);
}
