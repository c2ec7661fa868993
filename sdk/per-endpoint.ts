import { RowValues, EndpointTable, grown } from "./endpoint-table";

/**
 * A number or flag per endpoint that persists between calls as long as the endpoint exists, independent of the order of
 * the list. Create it at the top of the file:
 *
 *     const current = new PerEndpoint<i32>(0);
 *     export function pick(endpoints: Endpoints): i32 { current.set(0, current.get(0) + 1); … }
 */
export class PerEndpoint<T> extends RowValues {
  private values: StaticArray<T> = new StaticArray<T>(0);

  /** `initial`: the value of a new endpoint. */
  constructor(private initial: T) {
    super();
    if (isReference<T>()) ERROR("PerEndpoint supports only numbers and booleans");
    EndpointTable.register(this);
  }

  /** The value of the endpoint at `index` of this call's list. */
  // @ts-ignore: decorator
  @inline
  get(index: i32): T {
    return unchecked(this.values[EndpointTable.row(index)]);
  }

  /** Sets the value of the endpoint at `index` of this call's list. */
  // @ts-ignore: decorator
  @inline
  set(index: i32, value: T): void {
    unchecked((this.values[EndpointTable.row(index)] = value));
  }

  /** The value of the endpoint with this id (`outcome.endpoint`); the initial value if it no longer exists. */
  getById(id: i32): T {
    const row = EndpointTable.find(id);
    return row < 0 ? this.initial : unchecked(this.values[row]);
  }

  /** Sets the value of the endpoint with this id; no effect if it no longer exists. */
  setById(id: i32, value: T): void {
    const row = EndpointTable.find(id);
    if (row >= 0) unchecked((this.values[row] = value));
  }

  /** Called by the SDK: grows to more endpoints. */
  grow(capacity: i32): void {
    this.values = grown<T>(this.values, capacity);
  }

  /** For the SDK: that row goes to another endpoint. */
  clear(row: i32): void {
    unchecked((this.values[row] = this.initial));
  }
}
