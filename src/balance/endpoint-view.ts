/** The endpoints that a strategy may choose from: what `update` and `pick` see through the host calls. */
import { COLUMN } from "../plugin/abi.ts";
import type { EndpointColumns } from "./columns.ts";
import type { Endpoint } from "./endpoint.ts";

export class EndpointView {
  readonly list: Endpoint[] = [];
  count = 0;
  readonly columns: EndpointColumns;

  constructor(columns: EndpointColumns) {
    this.columns = columns;
  }

  clear(): void {
    this.count = 0;
  }

  push(endpoint: Endpoint): void {
    this.list[this.count++] = endpoint;
  }

  /** The same endpoints in a view of its own, which stays as it is. */
  clone(): EndpointView {
    const view = new EndpointView(this.columns);
    for (let i = 0; i < this.count; i++) view.push(this.list[i]!);
    return view;
  }

  /** The value of a column (`COLUMN`) for the endpoint at `index`, which the caller has checked. */
  value(index: number, column: number): number {
    const endpoint = this.list[index]!;
    switch (column) {
      case COLUMN.id:
        return endpoint.slot;
      case COLUMN.weight:
        return endpoint.weight;
      case COLUMN.in_flight:
        return this.columns.inFlight(endpoint.slot);
      case COLUMN.latency:
        return this.columns.latency[endpoint.slot]!;
      case COLUMN.error_rate:
        return this.columns.errorRate[endpoint.slot]!;
      case COLUMN.hash:
        return endpoint.hash;
      default:
        return endpoint.zoneHash;
    }
  }
}
