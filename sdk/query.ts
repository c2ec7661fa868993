import { Percent, decodePercent } from "./percent";

const AMPERSAND: i16 = 0x26;
const EQUALS: i32 = 0x3d;

/**
 * The parameters of a query in the format of HTML forms (WHATWG URL standard, application/x-www-form-urlencoded):
 * `a=1&b=x+y`, percent-encoded UTF-8, `+` for a space. Unchanged parameters keep their exact text; empty ones (`a&&b`) are
 * removed.
 *
 *     const query = new Query(req.query);
 *     query.remove("utm_source");
 *     req.query = query.toString();
 */
// @ts-ignore: decorator
@final
export class Query {
  private text: string;
  /** For each parameter its start and end in the text, or -1 - i for `added[i]`. */
  private rows: StaticArray<i32>;
  private added: string[] = [];
  private size: i32 = 0;

  /** Parses a query without `?`. */
  constructor(text: string) {
    this.text = text;
    const from = changetype<usize>(text);
    const length = text.length;
    this.rows = new StaticArray<i32>(2 * (countUnit(from, length, AMPERSAND) + 1));
    let start = 0;
    let at = 0;
    for (; at + 8 <= length; at += 8) {
      const block = v128.load(from + (<usize>at << 1));
      for (let found = i16x8.bitmask(i16x8.eq(block, i16x8.splat(AMPERSAND))); found; found &= found - 1) {
        const end = at + ctz(found);
        if (end > start) this.push(start, end);
        start = end + 1;
      }
    }
    for (; at < length; at++) {
      if (load<u16>(from + (<usize>at << 1)) != AMPERSAND) continue;
      if (at > start) this.push(start, at);
      start = at + 1;
    }
    if (length > start) this.push(start, length);
  }

  /** Number of parameters. */
  get count(): i32 {
    return this.size;
  }

  /** The name of parameter `index` (0 to `count` - 1), decoded. */
  nameAt(index: i32): string {
    const text = this.textOf(index);
    const start = this.startOf(index);
    return decode(text, start, this.nameEnd(text, start, this.endOf(index)));
  }

  /** The value of parameter `index` (0 to `count` - 1), decoded; empty if it has no `=`. */
  valueAt(index: i32): string {
    const text = this.textOf(index);
    const end = this.endOf(index);
    const name = this.nameEnd(text, this.startOf(index), end);
    return name == end ? "" : decode(text, name + 1, end);
  }

  /** The first value of this name, or null. */
  get(name: string): string | null {
    const at = this.find(name, 0);
    return at < 0 ? null : this.valueAt(at);
  }

  /** Every value of this name, in order. */
  getAll(name: string): string[] {
    const values: string[] = [];
    for (let at = this.find(name, 0); at >= 0; at = this.find(name, at + 1)) values.push(this.valueAt(at));
    return values;
  }

  /** Whether there is a parameter of this name. */
  has(name: string): bool {
    return this.find(name, 0) >= 0;
  }

  /** Sets the value of the first parameter of this name and removes the others; appends it if there is none. */
  set(name: string, value: string): void {
    const at = this.find(name, 0);
    if (at < 0) return this.add(name, value);
    unchecked((this.rows[2 * at] = this.keep(name, value)));
    this.removeFrom(name, at + 1);
  }

  /** Appends a parameter. */
  add(name: string, value: string): void {
    this.push(this.keep(name, value), 0);
  }

  /** Removes all parameters of this name; returns whether there were any. */
  remove(name: string): bool {
    return this.removeFrom(name, 0);
  }

  /** The query without `?`. */
  toString(): string {
    if (!this.size) return "";
    let length = this.size - 1;
    for (let i = 0; i < this.size; i++) length += this.endOf(i) - this.startOf(i);
    const out = __new(<usize>length << 1, idof<string>());
    let to = out;
    for (let i = 0; i < this.size; i++) {
      if (i) {
        store<u16>(to, AMPERSAND);
        to += 2;
      }
      const start = this.startOf(i);
      const bytes = <usize>(this.endOf(i) - start) << 1;
      memory.copy(to, changetype<usize>(this.textOf(i)) + (<usize>start << 1), bytes);
      to += bytes;
    }
    return changetype<string>(out);
  }

  private push(start: i32, end: i32): void {
    if (2 * this.size == this.rows.length)
      this.rows = changetype<StaticArray<i32>>(__renew(changetype<usize>(this.rows), (<usize>this.rows.length << 3) + 16));
    unchecked((this.rows[2 * this.size] = start));
    unchecked((this.rows[2 * this.size++ + 1] = end));
  }

  private keep(name: string, value: string): i32 {
    return -this.added.push(`${Percent.encode(name)}=${Percent.encode(value)}`);
  }

  private rowOf(index: i32): usize {
    if (<u32>index >= <u32>this.size) throw new RangeError(`parameter ${index} is out of range: there are ${this.size}`);
    return changetype<usize>(this.rows) + (<usize>index << 3);
  }

  private textOf(index: i32): string {
    const start = load<i32>(this.rowOf(index));
    return start < 0 ? this.added[-1 - start] : this.text;
  }

  private startOf(index: i32): i32 {
    return max(load<i32>(this.rowOf(index)), 0);
  }

  private endOf(index: i32): i32 {
    const row = this.rowOf(index);
    const start = load<i32>(row);
    return start < 0 ? this.added[-1 - start].length : load<i32>(row, 4);
  }

  private nameEnd(text: string, start: i32, end: i32): i32 {
    let at = start;
    while (at < end && load<u16>(changetype<usize>(text) + (<usize>at << 1)) != EQUALS) at++;
    return at;
  }

  private find(name: string, from: i32): i32 {
    for (let i = from; i < this.size; i++) {
      if (this.isNamed(i, name)) return i;
    }
    return -1;
  }

  /** Whether the parameter has this name. Decodes it only if it contains an escape. */
  private isNamed(index: i32, name: string): bool {
    const row = changetype<usize>(this.rows) + (<usize>index << 3);
    const start = load<i32>(row);
    if (start < 0) return this.nameAt(index) == name;
    const from = changetype<usize>(this.text) + (<usize>start << 1);
    const length = load<i32>(row, 4) - start;
    const wanted = name.length;
    let i = 0;
    while (true) {
      const unit = i < length ? <i32>load<u16>(from + (<usize>i << 1)) : EQUALS;
      if (unit == EQUALS) return i == wanted;
      if (unit == 0x25 || unit == 0x2b || unit > 0x7f) return this.nameAt(index) == name;
      if (i == wanted || unit != <i32>load<u16>(changetype<usize>(name) + (<usize>i << 1))) return false;
      i++;
    }
  }

  private removeFrom(name: string, from: i32): bool {
    const before = this.size;
    let kept = from;
    for (let i = from; i < before; i++) {
      if (this.isNamed(i, name)) continue;
      if (kept < i) memory.copy(changetype<usize>(this.rows) + (<usize>kept << 3), changetype<usize>(this.rows) + (<usize>i << 3), 8);
      kept++;
    }
    this.size = kept;
    return kept < before;
  }
}

/** Number of occurrences of a code unit in the text at an address. */
function countUnit(from: usize, length: i32, unit: i16): i32 {
  let count = 0;
  let at = 0;
  for (; at + 8 <= length; at += 8) count += popcnt(i16x8.bitmask(i16x8.eq(v128.load(from + (<usize>at << 1)), i16x8.splat(unit))));
  for (; at < length; at++) count += i32(load<u16>(from + (<usize>at << 1)) == <u16>unit);
  return count;
}

function decode(text: string, start: i32, end: i32): string {
  return decodePercent(text, start, end, true, false)!;
}
