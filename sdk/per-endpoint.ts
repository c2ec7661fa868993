import { Kept, Roster, grown } from "./roster";

/**
 * A number or flag for each endpoint, kept from call to call for as long as the endpoint stays, whatever happens to
 * the order of the list. Make it at the top of the file:
 *
 *     const current = new PerEndpoint<i32>(0);
 *     export function pick(endpoints: Endpoints): i32 { current.set(0, current.get(0) + 1); … }
 */
export class PerEndpoint<T> extends Kept {
  private values: StaticArray<T> = new StaticArray<T>(0);

  /** `initial` is the value of an endpoint that is new. */
  constructor(private initial: T) {
    super();
    if (isReference<T>()) ERROR("PerEndpoint holds numbers and flags only");
    Roster.register(this);
  }

  /** The value of the endpoint at `index` of this call's list. */
  // @ts-ignore: decorator
  @inline
  get(index: i32): T {
    return unchecked(this.values[Roster.row(index)]);
  }

  /** Sets the value of the endpoint at `index` of this call's list. */
  // @ts-ignore: decorator
  @inline
  set(index: i32, value: T): void {
    unchecked((this.values[Roster.row(index)] = value));
  }

  /** The value of the endpoint with this id, as `outcome.endpoint` names it; the initial value when it is gone. */
  getById(id: i32): T {
    const row = Roster.find(id);
    return row < 0 ? this.initial : unchecked(this.values[row]);
  }

  /** Sets the value of the endpoint with this id; nothing when it is gone. */
  setById(id: i32, value: T): void {
    const row = Roster.find(id);
    if (row >= 0) unchecked((this.values[row] = value));
  }

  /** For the SDK, which keeps the rows: room for more endpoints. */
  grow(capacity: i32): void {
    this.values = grown<T>(this.values, capacity);
  }

  /** For the SDK: that row goes to another endpoint. */
  clear(row: i32): void {
    unchecked((this.values[row] = this.initial));
  }
}
