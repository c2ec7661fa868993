/** The dynamic table of HPACK (RFC 7541 section 2.3.2): the most recent fields; the oldest are evicted first. */

/** The size of an entry in addition to its name and value, in bytes (RFC 7541 section 4.1). */
export const ENTRY_OVERHEAD = 32;

const EMPTY = new Uint8Array(0);
/** Memory of a table with entries, which grows with them: most clients repeat less than 1 KiB. */
const LEAST_BYTES = 512;
const LEAST_ENTRIES = 16;

export class DynamicTable {
  /** Names and values of entries, one after the other, oldest first. */
  bytes: Uint8Array = EMPTY;
  count = 0;
  /** Sizes of the entries, ENTRY_OVERHEAD included. */
  size = 0;
  /** The entries added so far: the newest has this number, from 1 on. */
  added = 0;
  #maxSize: number;
  readonly #capacity: number;
  /** End of the newest entry in `bytes`. */
  #end = 0;
  /** A ring: of an entry where it begins, where its name ends and its value ends, and the NAME of its name. */
  #entries = new Uint32Array(0);

  /** `capacity`: the largest value of `maxSize`, in bytes. Memory grows with the entries. */
  constructor(capacity: number) {
    this.#capacity = capacity;
    this.#maxSize = capacity;
  }

  get maxSize(): number {
    return this.#maxSize;
  }

  /** At most the capacity. */
  resize(maxSize: number): void {
    this.#maxSize = maxSize;
    this.#evict(0);
  }

  nameStart(number: number): number {
    return this.#entries[this.#slot(number)]!;
  }

  nameEnd(number: number): number {
    return this.#entries[this.#slot(number) + 1]!;
  }

  valueEnd(number: number): number {
    return this.#entries[this.#slot(number) + 2]!;
  }

  nameId(number: number): number {
    return this.#entries[this.#slot(number) + 3]!;
  }

  /** Adds a field: `names[nameStart, nameEnd)` and `values[valueStart, valueEnd)`. One larger than the table empties it. */
  add(
    names: Uint8Array,
    nameStart: number,
    nameEnd: number,
    values: Uint8Array,
    valueStart: number,
    valueEnd: number,
    id: number,
  ): void {
    const nameLength = nameEnd - nameStart;
    const length = nameLength + (valueEnd - valueStart);
    const size = length + ENTRY_OVERHEAD;
    this.#evict(size);
    if (size > this.#maxSize) return;
    this.#reserve(length);
    const start = this.#end;
    const bytes = this.bytes;
    for (let i = 0; i < nameLength; i++) bytes[start + i] = names[nameStart + i]!;
    for (let i = nameLength, from = valueStart; i < length; i++) bytes[start + i] = values[from++]!;
    this.#end = start + length;
    this.added++;
    this.count++;
    this.size += size;
    const at = this.#slot(this.added);
    this.#entries[at] = start;
    this.#entries[at + 1] = start + nameLength;
    this.#entries[at + 2] = this.#end;
    this.#entries[at + 3] = id;
  }

  /** Whether an entry of that number is in the table. */
  has(number: number): boolean {
    return number > this.added - this.count && number <= this.added;
  }

  /** Drops entries until one of `size` fits. */
  #evict(size: number): void {
    while (this.count > 0 && this.size + size > this.#maxSize) {
      const oldest = this.#slot(this.added - this.count + 1);
      this.size -= this.#entries[oldest + 2]! - this.#entries[oldest]! + ENTRY_OVERHEAD;
      this.count--;
    }
  }

  /** Makes space for one entry of `length` bytes at the end. The live entries have at most `capacity` bytes with it. */
  #reserve(length: number): void {
    if (4 * this.count === this.#entries.length) this.#growEntries();
    if (this.#end + length <= this.bytes.length) return;
    const from = this.count === 0 ? this.#end : this.nameStart(this.added - this.count + 1);
    const live = this.#end - from + length;
    // Moved only into a buffer of twice the size of what is live, so that moves have linear cost.
    if (2 * live > this.bytes.length) {
      const grown = new Uint8Array(
        Math.min(2 * this.#capacity, Math.max(LEAST_BYTES, 2 ** Math.ceil(Math.log2(4 * live)))),
      );
      grown.set(this.bytes.subarray(from, this.#end));
      this.bytes = grown;
    } else this.bytes.copyWithin(0, from, this.#end);
    this.#end -= from;
    for (let number = this.added - this.count + 1; number <= this.added; number++)
      for (let at = this.#slot(number), word = 0; word < 3; word++) this.#entries[at + word]! -= from;
  }

  #growEntries(): void {
    const before = this.#entries;
    const slots = before.length >> 2;
    const grown = new Uint32Array(Math.max(4 * LEAST_ENTRIES, 2 * before.length));
    for (let number = this.added - this.count + 1; number <= this.added; number++)
      for (let word = 0; word < 4; word++)
        grown[4 * (number % (grown.length >> 2)) + word] = before[4 * (number % slots) + word]!;
    this.#entries = grown;
  }

  #slot(number: number): number {
    return 4 * (number % (this.#entries.length >> 2));
  }
}
