import { ByteBuilder, Bytes, fromUtf8, toUtf8 } from "./binary";
import { Json, JsonDocument, JsonValue } from "./json";
import { JSON_DEPTH, NEXT, VALUE_BYTES } from "./json-scan";

/** A bit of 64 is a place in a path. */
const MOST_PLACES: i32 = 64;

const LIST: i32 = 0x5b;

/** Computes what takes the place of `value`, as JSON; null leaves it. `path` is the index of the path that led to it. */
export type JsonReplacer = (value: JsonValue, path: i32) => Bytes | null;

/**
 * Puts another value in the place of those at some paths, and leaves every other byte of the JSON as it is. Make it at
 * the top of the file or in `configure`:
 *
 *     const mask = new JsonMask(["password", "card.number", "items.*.token", "**.secret"]);
 *     const clean = mask.apply(body);      // null: it was not JSON
 *
 * A path is keys and indices with dots between. `*` is any one key or index, `**` any number of them, also none. All
 * members of a map that has a key twice are masked. The paths of a mask have at most 64 parts together, each path one
 * more for its end; the time is that of the JSON's length times the paths that are open at once.
 */
// @ts-ignore: decorator
@final
export class JsonMask {
  private count: i32 = 0;
  private keys: StaticArray<string> = new StaticArray<string>(MOST_PLACES);
  /** For each key, the index of a list's entry that it names, or -1. */
  private indices: StaticArray<i32> = new StaticArray<i32>(MOST_PLACES);
  // Which places are keys, those among them that are indices, `*`, `**`, the end of a path, the beginning of one: a bit for each.
  private named: u64 = 0;
  private numbered: u64 = 0;
  private any: u64 = 0;
  private anyDepth: u64 = 0;
  private found: u64 = 0;
  private starts: u64 = 0;
  private replacement: Bytes;
  // For each level around the one that is walked: the places that its entries begin at, where it ends, the entry at hand.
  private levels: StaticArray<u64> = new StaticArray<u64>(JSON_DEPTH + 1);
  private ends: StaticArray<i32> = new StaticArray<i32>(JSON_DEPTH + 1);
  private entries: StaticArray<i32> = new StaticArray<i32>(JSON_DEPTH + 1);

  /** `replacement` is JSON: the text `***` unless it says otherwise. */
  constructor(paths: string[], replacement: string = '"***"') {
    this.replacement = toUtf8(replacement);
    if (!Json.parse(this.replacement)) throw new Error(`the replacement ${replacement} is not JSON`);
    for (let i = 0; i < paths.length; i++) this.add(paths[i]);
  }

  /** The JSON with the values replaced: the same bytes when there were none. Null when it is not JSON. */
  apply(json: Bytes): Bytes | null {
    return this.walk(json, null);
  }

  /**
   * The same with values that are computed: what `replacer` returns is put in the place of each value.
   *
   *     function lastDigits(value: JsonValue, path: i32): Bytes | null {
   *       const text = value.asString();
   *       return text === null ? toUtf8("null") : toUtf8('"…' + text.slice(-4) + '"');
   *     }
   *     const clean = mask.applyWith(body, lastDigits);
   */
  applyWith(json: Bytes, replacer: JsonReplacer): Bytes | null {
    return this.walk(json, replacer);
  }

  private walk(json: Bytes, replacer: JsonReplacer | null): Bytes | null {
    const document = new JsonDocument(json);
    if (!document.read()) return null;
    const start = this.close(this.starts);
    const found = this.found;
    const named = this.named;
    const numbered = this.numbered;
    const any = this.any;
    const anyDepth = this.anyDepth;
    if (start & found) {
      const value = this.replacementFor(document, 0, start, replacer);
      return value ? value : json;
    }
    const out = new ByteBuilder();
    const count = document.count;
    const rows = document.rows;
    let copied = 0;
    // The level at hand; of a map no entries are counted, since those have keys.
    let level = 0;
    let places = start;
    let end = count;
    let entry = document.byteOf(0) == LIST ? 0 : -1;
    for (let node = 1; node < count; ) {
      while (node >= end) {
        level--;
        places = unchecked(this.levels[level]);
        end = unchecked(this.ends[level]);
        entry = unchecked(this.entries[level]);
      }
      let reached = (places & anyDepth) | ((places & any) << 1);
      if (entry >= 0) {
        if (places & numbered) reached |= this.stepByIndex(entry, places);
        entry++;
      } else {
        const key = node;
        node = load<i32>(rows + <usize>(VALUE_BYTES * node), NEXT);
        if (places & named) reached |= this.stepByKey(document, key, places);
      }
      if (reached & anyDepth) reached = this.close(reached);
      const after = load<i32>(rows + <usize>(VALUE_BYTES * node), NEXT);
      if (reached & found) {
        const value = this.replacementFor(document, node, reached, replacer);
        if (value) {
          out.copy(document.from + copied, document.start(node) - copied);
          out.copy(changetype<usize>(value), value.length);
          copied = document.end(node);
        }
      } else if (reached && after > node + 1) {
        unchecked((this.levels[level] = places));
        unchecked((this.ends[level] = end));
        unchecked((this.entries[level] = entry));
        level++;
        places = reached;
        end = after;
        entry = document.byteOf(node++) == LIST ? 0 : -1;
        continue;
      }
      node = after;
    }
    if (!copied) return json;
    out.copy(document.from + copied, json.length - copied);
    return out.take();
  }

  /** What takes the place of a node that these places have led to; null leaves it. */
  private replacementFor(document: JsonDocument, node: i32, places: u64, replacer: JsonReplacer | null): Bytes | null {
    if (!replacer) return this.replacement;
    const end = <u64>ctz(places & this.found);
    const path = <i32>popcnt(this.found & (((<u64>1) << end) - 1));
    const value = replacer(new JsonValue(document, node), path);
    if (value && !Json.parse(value)) throw new Error("a computed value is not JSON: " + fromUtf8(value));
    return value;
  }

  private add(path: string): void {
    const parts = path.split(".");
    if (this.count + parts.length + 1 > MOST_PLACES) throw new Error(`JSON paths of more than ${MOST_PLACES} parts`);
    this.starts |= this.next;
    for (let i = 0; i < parts.length; i++) {
      const part = parts[i];
      if (!part.length) throw new Error(`JSON path "${path}": an empty part`);
      if (part == "*") this.any |= this.next;
      else if (part == "**") this.anyDepth |= this.next;
      else this.named |= this.next;
      this.put(part);
    }
    this.found |= this.next;
    this.put("");
  }

  /** The bit of the next place. */
  private get next(): u64 {
    return (<u64>1) << <u64>this.count;
  }

  private put(key: string): void {
    const index = I32.parseInt(key);
    const isIndex = index >= 0 && index.toString() == key;
    if (isIndex) this.numbered |= this.next & this.named;
    this.indices[this.count] = isIndex ? index : -1;
    this.keys[this.count++] = key;
  }

  /** The places that the entry with this index of a list leads to from these. */
  private stepByIndex(index: i32, places: u64): u64 {
    let next: u64 = 0;
    for (let left = places & this.numbered; left; left &= left - 1) {
      const place = <i32>ctz(left);
      if (unchecked(this.indices[place]) == index) next |= (<u64>2) << <u64>place;
    }
    return next;
  }

  /** The places that the entry with this key of a map leads to from these. */
  private stepByKey(document: JsonDocument, key: i32, places: u64): u64 {
    let next: u64 = 0;
    // Few keys begin alike, so most need no more than that. An escape, or what is not ASCII, may be anything.
    const first = <i32>load<u8>(document.from + document.start(key) + 1);
    for (let left = places & this.named; left; left &= left - 1) {
      const place = <i32>ctz(left);
      const name = unchecked(this.keys[place]);
      if (first != <i32>load<u16>(changetype<usize>(name)) && first != 0x5c && first < 0x80) continue;
      if (document.textIs(key, name)) next |= (<u64>2) << <u64>place;
    }
    return next;
  }

  /** With the places behind each `**`, which may be passed without an entry. */
  private close(places: u64): u64 {
    let closed = places;
    for (let left = closed & this.anyDepth; left; ) {
      const more = (left << 1) & ~closed;
      closed |= more;
      left = more & this.anyDepth;
    }
    return closed;
  }
}
