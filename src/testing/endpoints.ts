/** The endpoints of a cluster, with a load set by the test. */
import type { EndpointInit } from "../../sdk/test.js";
import { EndpointColumns } from "../cluster/columns.ts";
import { Endpoint } from "../cluster/endpoint.ts";
import { EndpointView } from "../cluster/endpoint-view.ts";

export class TestEndpoints {
  readonly #columns = EndpointColumns.allocate(1);
  /** Ids by address: an address keeps its id, as in the proxy. */
  readonly #slots = new Map<string, number>();
  #list: readonly Endpoint[] = [];

  /** Replaces the list. */
  set(list: readonly (string | EndpointInit)[]): EndpointView {
    this.#list = list.map((init) => this.#place(typeof init === "string" ? { address: init } : init));
    return this.view();
  }

  view(without: readonly string[] = []): EndpointView {
    const view = new EndpointView(this.#columns);
    for (const endpoint of this.#list) if (!without.includes(endpoint.address)) view.push(endpoint);
    return view;
  }

  find(address: string): Endpoint {
    const found = this.#list.find((endpoint) => endpoint.address === address);
    if (found === undefined) throw new RangeError(`there is no endpoint ${address}, expected one of the last update`);
    return found;
  }

  /** The endpoint with that address, even if it is not in the last update. */
  known(address: string): Endpoint {
    return this.#list.find((endpoint) => endpoint.address === address) ?? this.#place({ address });
  }

  #place({
    address,
    weight = 1,
    zone = "",
    inFlight = 0,
    latency = 0,
    latencyAge = 0,
    errorRate = 0,
  }: EndpointInit): Endpoint {
    const slot = this.#slots.getOrInsert(address, this.#slots.size);
    this.#columns.addInFlight(0, slot, inFlight - this.#columns.inFlight(slot));
    this.#columns.setLatency(slot, latency, latencyAge);
    this.#columns.errorRate[slot] = errorRate;
    return new Endpoint({ address, host: "", port: 0, path: "", weight, zone, slot, cells: 0 });
  }
}
