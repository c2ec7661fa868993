/** The table of a metric with a label whose values are known only at run time, in the cells of a worker. */
import { LIMIT } from "../abi/abi.ts";

/** The label value of the series that counts values without a row. */
export const OTHER = "other";

/** Cells of a row's text: a byte of length, and the longest text. */
const TEXT_CELLS = Math.ceil((1 + LIMIT.metricValue) / 8);

export type LabelLayout = {
  readonly base: number;
  /** Number of rows. */
  readonly values: number;
  /** Cells per series. */
  readonly width: number;
};

/** Number of cells of a table: the count of rows, the series of `other`, and the rows. */
export function labelTableCells(values: number, width: number): number {
  return 1 + width + values * (TEXT_CELLS + width);
}

/**
 * The cells of a metric with a label whose values are known only at run time: a row per value, with its text and the cells
 * of its series. The table is in the worker's own block: workers do not need the same order of values, the main thread
 * reads texts with the counts, and the replacement of an exited worker continues with its table.
 */
export class LabelTable {
  readonly #layout: LabelLayout;
  readonly #bytes: Buffer;
  /** Number of complete rows; stored after the text of a row. */
  readonly #count: Int32Array;
  /** First cells by value, of the rows that were read. */
  readonly #cells = new Map<string, number>();
  #read = 0;

  constructor(block: Float64Array, layout: LabelLayout) {
    const { buffer, byteOffset, byteLength } = block;
    this.#layout = layout;
    this.#bytes = Buffer.from(buffer as ArrayBuffer, byteOffset, byteLength);
    this.#count = new Int32Array(buffer, byteOffset + 8 * layout.base, 1);
    this.#cells.set(OTHER, layout.base + 1);
  }

  /** Returns the first cell of the value's series; of `other` if no row is left or the text is too long. */
  cellsOf(value: string): number {
    const known = this.#cells.get(value);
    if (known !== undefined) return known;
    if (Buffer.byteLength(value) > LIMIT.metricValue) return this.#cells.get(OTHER)!;
    this.#readRows();
    return this.#cells.get(value) ?? this.#append(value);
  }

  /** The first cells by value, including `other`. */
  list(): ReadonlyMap<string, number> {
    this.#readRows();
    return this.#cells;
  }

  #append(value: string): number {
    if (this.#read === this.#layout.values) return this.#cells.get(OTHER)!;
    const row = this.#row(this.#read);
    const length = this.#bytes.write(value, 8 * row + 1);
    this.#bytes[8 * row] = length;
    Atomics.store(this.#count, 0, this.#read + 1);
    this.#readRows();
    return row + TEXT_CELLS;
  }

  /** Reads new rows, which another configuration of the plugin may have added in the same worker. */
  #readRows(): void {
    const count = Atomics.load(this.#count, 0);
    for (; this.#read < count; this.#read++) {
      const row = this.#row(this.#read);
      const at = 8 * row + 1;
      this.#cells.set(this.#bytes.toString("utf8", at, at + this.#bytes[8 * row]!), row + TEXT_CELLS);
    }
  }

  #row(index: number): number {
    return this.#layout.base + 1 + this.#layout.width + index * (TEXT_CELLS + this.#layout.width);
  }
}
