/** The memory that all workers share, and the owners of its slots: versions of the plan, and endpoint sets. */
import { availableParallelism } from "node:os";
import { EndpointColumns, MAX_ENDPOINTS } from "../cluster/columns.ts";
import { ClientCounts, type ClientTable } from "../net/client-counts.ts";
import { ConnectionCounts, MAX_LISTENERS } from "../net/connection-counts.ts";
import { RateTable } from "../net/rate-table.ts";
import { TicketKeys } from "../net/ticket-keys.ts";
import { Counters, type Labels, type SeriesKind, seriesKey } from "../observe/counters.ts";
import { KeyValueStore, Namespaces } from "../state/store.ts";
import { rowsOf, Slots } from "./slots.ts";

/** Least value of the maximum number of workers, which a reload can increase up to there. */
const MIN_PLACES = 64;
/** Number of the main thread in locks; workers are numbered from 0. */
const MAIN_THREAD = -1;

export class SharedMemory {
  /** Maximum number of workers. */
  readonly places: number;
  readonly columns: EndpointColumns;
  readonly connections: ConnectionCounts;
  readonly #clientTable: ClientTable;
  readonly #clients: ClientCounts;
  readonly #rates = RateTable.allocate();
  readonly counters = new Counters();
  readonly keyValue: KeyValueStore;
  readonly ticketKeys = new TicketKeys(TicketKeys.allocate());
  readonly namespaces = new Namespaces();
  readonly #endpointRows: Slots;
  readonly #listenerRows: Slots;
  readonly #cells = new Slots(this.counters);

  constructor(workers: number, keyValueSize: number) {
    this.places = Math.max(MIN_PLACES, 4 * availableParallelism(), 2 * workers);
    this.columns = EndpointColumns.allocate(workers, this.places);
    this.connections = new ConnectionCounts(ConnectionCounts.allocate(this.places), MAIN_THREAD);
    this.#clientTable = ClientCounts.allocate(this.places);
    this.#clients = new ClientCounts(this.#clientTable, MAIN_THREAD);
    this.keyValue = new KeyValueStore(KeyValueStore.allocate(keyValueSize), MAIN_THREAD);
    this.#endpointRows = new Slots(rowsOf("endpoints", MAX_ENDPOINTS, (row) => this.columns.clearSlot(row)));
    this.#listenerRows = new Slots(rowsOf("listeners", MAX_LISTENERS, (row) => this.connections.clear(row)));
  }

  /** The buffers for `workerData` of a worker. */
  buffersOf(worker: number) {
    return {
      columns: this.columns.buffer,
      connections: this.connections.buffer,
      clients: this.#clientTable,
      rates: this.#rates,
      counters: this.counters.block(worker),
      keyValue: this.keyValue.buffer,
      ticketKeys: this.ticketKeys.buffer,
    };
  }

  /** Clears what an ended worker had in use. Returns the number of repaired shards of the key-value store. */
  forgetWorker(worker: number): number {
    this.columns.forgetWorker(worker);
    this.connections.forgetWorker(worker);
    this.#clients.forgetWorker(worker);
    this.counters.clearGauges(worker);
    return this.keyValue.forgetWorker(worker);
  }

  /** Allocates the row and the cells of an endpoint. @throws Error if none is free */
  endpoint(owner: number, cluster: string, endpoint: string): { slot: number; cells: number } {
    const slot = this.#endpointRows.acquire(owner, `${cluster} ${endpoint}`);
    return { slot, cells: this.cells(owner, "upstream", { cluster, endpoint }) };
  }

  /** Allocates the row of a listener's address. @throws Error if none is free */
  listenerRow(owner: number, address: string): number {
    return this.#listenerRows.acquire(owner, address);
  }

  /** Allocates the cells of a series. @throws Error if none are free */
  cells(owner: number, kind: SeriesKind, labels: Labels): number {
    return this.#cells.acquire(owner, seriesKey(kind, labels));
  }

  /** Frees the slots of an owner that no worker uses. */
  release(owner: number): void {
    for (const slots of [this.#endpointRows, this.#listenerRows, this.#cells]) slots.release(owner);
  }

  /** Use of the key-value store by namespace. */
  keyValueUse() {
    return [...this.namespaces.list()].map(([name, number]) => ({ name, ...this.keyValue.use(number) }));
  }
}
