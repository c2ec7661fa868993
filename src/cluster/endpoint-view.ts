/** The endpoints from which a strategy can choose, as host calls in `update` and `pick` read them. */
import { COLUMN } from "../abi/abi.ts";
import type { EndpointList } from "../plugin/host/hook-context.ts";
import type { EndpointColumns } from "./columns.ts";
import type { Endpoint } from "./endpoint.ts";

export class EndpointView implements EndpointList {
  readonly list: Endpoint[];
  count: number;
  readonly columns: EndpointColumns;

  constructor(columns: EndpointColumns, list: Endpoint[] = []) {
    this.list = list;
    this.count = list.length;
    this.columns = columns;
  }

  clear(): void {
    this.count = 0;
  }

  push(endpoint: Endpoint): void {
    this.list[this.count++] = endpoint;
  }

  clone(): EndpointView {
    return new EndpointView(this.columns, this.list.slice(0, this.count));
  }

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
        return this.columns.latencyOf(endpoint.slot);
      case COLUMN.error_rate:
        return this.columns.errorRateOf(endpoint.slot);
      case COLUMN.latency_age:
        return this.columns.latencyAgeOf(endpoint.slot);
      case COLUMN.hash:
        return endpoint.hash;
      default:
        return endpoint.zoneHash;
    }
  }

  /** Copies a column to `target`, one value per endpoint. A loop per column, because it can run for each pick. */
  read(column: number, target: Int32Array): void {
    const { list, count, columns } = this;
    switch (column) {
      case COLUMN.id:
        for (let i = 0; i < count; i++) target[i] = list[i]!.slot;
        return;
      case COLUMN.weight:
        for (let i = 0; i < count; i++) target[i] = list[i]!.weight;
        return;
      case COLUMN.in_flight:
        for (let i = 0; i < count; i++) target[i] = columns.inFlight(list[i]!.slot);
        return;
      case COLUMN.latency:
        for (let i = 0; i < count; i++) target[i] = columns.latencyOf(list[i]!.slot);
        return;
      case COLUMN.error_rate:
        for (let i = 0; i < count; i++) target[i] = columns.errorRateOf(list[i]!.slot);
        return;
      default:
        for (let i = 0; i < count; i++) target[i] = this.value(i, column);
    }
  }
}
