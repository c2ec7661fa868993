import { Percent, decodePercent } from "./percent";

/**
 * The parameters of a query, as the WHATWG URL standard reads forms: `a=1&b=x+y`, `+` a space, percent-encoded UTF-8.
 * What is not changed stays as it was written, character by character; empty pieces (`a&&b`) are left out.
 *
 *     const query = new Query(req.query);
 *     query.remove("utm_source");
 *     req.query = query.toString();
 */
// @ts-ignore: decorator
@final
export class Query {
  /** Each `name=value` as it stands in the text. */
  private pieces: string[] = [];

  /** Of a query without its `?`. */
  constructor(text: string) {
    for (let from = 0; from < text.length; ) {
      let end = text.indexOf("&", from);
      if (end < 0) end = text.length;
      if (end > from) this.pieces.push(text.substring(from, end));
      from = end + 1;
    }
  }

  /** How many parameters there are. */
  get count(): i32 {
    return this.pieces.length;
  }

  /** The name of parameter `index` (0 to `count` - 1), decoded. */
  nameAt(index: i32): string {
    const piece = this.pieces[index];
    const equals = piece.indexOf("=");
    return decode(piece, 0, equals < 0 ? piece.length : equals);
  }

  /** The value of parameter `index` (0 to `count` - 1), decoded; empty when it has no `=`. */
  valueAt(index: i32): string {
    const piece = this.pieces[index];
    const equals = piece.indexOf("=");
    return equals < 0 ? "" : decode(piece, equals + 1, piece.length);
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

  /** Is there a parameter of this name? */
  has(name: string): bool {
    return this.find(name, 0) >= 0;
  }

  /** Gives the parameter this one value: the first of the name takes it, the others go; at the end when there is none. */
  set(name: string, value: string): void {
    const at = this.find(name, 0);
    if (at < 0) this.add(name, value);
    else {
      this.pieces[at] = encode(name, value);
      this.removeFrom(name, at + 1);
    }
  }

  /** Adds a parameter at the end. */
  add(name: string, value: string): void {
    this.pieces.push(encode(name, value));
  }

  /** Takes every parameter of this name away; says whether there were any. */
  remove(name: string): bool {
    return this.removeFrom(name, 0);
  }

  /** The query, without a `?`. */
  toString(): string {
    return this.pieces.join("&");
  }

  private find(name: string, from: i32): i32 {
    for (let i = from; i < this.pieces.length; i++) {
      if (this.nameAt(i) == name) return i;
    }
    return -1;
  }

  private removeFrom(name: string, from: i32): bool {
    const before = this.pieces.length;
    let kept = from;
    for (let i = from; i < before; i++) {
      if (this.nameAt(i) != name) this.pieces[kept++] = this.pieces[i];
    }
    this.pieces.length = kept;
    return kept < before;
  }
}

function decode(piece: string, start: i32, end: i32): string {
  return decodePercent(piece, start, end, true, false)!;
}

function encode(name: string, value: string): string {
  return `${Percent.encode(name)}=${Percent.encode(value)}`;
}
