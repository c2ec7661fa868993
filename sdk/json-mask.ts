import { ByteBuilder, Bytes, toUtf8 } from "./binary";
import { JSON_DEPTH, Json, JsonDocument } from "./json";

/** A bit of 64 is a place in a path. */
const MOST_PLACES: i32 = 64;

const KEY: i32 = 0;
const ANY: i32 = 1;
const ANY_DEPTH: i32 = 2;
const FOUND: i32 = 3;

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
  private kinds: i32[] = [];
  private keys: string[] = [];
  private starts: u64 = 0;
  private found: u64 = 0;
  private replacement: Bytes;
  // For each level of the text that is walked: which places its entries begin at, where it ends, what it is.
  private places: StaticArray<u64> = new StaticArray<u64>(JSON_DEPTH + 1);
  private ends: StaticArray<i32> = new StaticArray<i32>(JSON_DEPTH + 1);
  private indices: StaticArray<i32> = new StaticArray<i32>(JSON_DEPTH + 1);

  /** `replacement` is JSON: the text `***` unless it says otherwise. */
  constructor(paths: string[], replacement: string = '"***"') {
    this.replacement = toUtf8(replacement);
    if (!Json.parse(this.replacement)) throw new Error(`the replacement ${replacement} is not JSON`);
    for (let i = 0; i < paths.length; i++) this.add(paths[i]);
  }

  /** The JSON with the values replaced: the same bytes when there were none. Null when it is not JSON. */
  apply(json: Bytes): Bytes | null {
    const document = new JsonDocument(json);
    if (!document.read()) return null;
    const out = new ByteBuilder();
    let copied = 0;
    let level = 0;
    this.places[0] = this.close(this.starts);
    this.ends[0] = i32.MAX_VALUE;
    this.indices[0] = -1;
    if (this.places[0] & this.found) return this.replacement;
    if (document.byteOf(0) == 0x7b || document.byteOf(0) == 0x5b) level = this.descend(document, 0, 0, this.places[0]);
    for (let node = 1; node < document.count; ) {
      while (node >= this.ends[level]) level--;
      let key = -1;
      if (this.indices[level] < 0) {
        key = node;
        node = document.next(node);
      } else this.indices[level]++;
      const places = this.step(document, key, this.indices[level] - 1, this.places[level]);
      const byte = document.byteOf(node);
      if (places & this.found) {
        out.copy(document.from + copied, document.start(node) - copied);
        out.copy(changetype<usize>(this.replacement), this.replacement.length);
        copied = document.end(node);
        node = document.next(node);
      } else if (places && (byte == 0x7b || byte == 0x5b)) {
        level = this.descend(document, node, level, places);
        node++;
      } else node = document.next(node);
    }
    if (!copied) return json;
    out.copy(document.from + copied, json.length - copied);
    return out.toBytes();
  }

  private add(path: string): void {
    const parts = path.split(".");
    if (this.kinds.length + parts.length + 1 > MOST_PLACES) throw new Error(`JSON paths of more than ${MOST_PLACES} parts`);
    this.starts |= (<u64>1) << <u64>this.kinds.length;
    for (let i = 0; i < parts.length; i++) {
      if (!parts[i].length) throw new Error(`JSON path "${path}": an empty part`);
      this.put(parts[i] == "*" ? ANY : parts[i] == "**" ? ANY_DEPTH : KEY, parts[i]);
    }
    this.found |= (<u64>1) << <u64>this.kinds.length;
    this.put(FOUND, "");
  }

  private put(kind: i32, key: string): void {
    this.kinds.push(kind);
    this.keys.push(key);
  }

  private descend(document: JsonDocument, node: i32, level: i32, places: u64): i32 {
    this.places[level + 1] = places;
    this.ends[level + 1] = document.next(node);
    // Entries of a list are counted; those of a map have their keys.
    this.indices[level + 1] = document.byteOf(node) == 0x5b ? 0 : -1;
    return level + 1;
  }

  /** The places that an entry with this key, or else this index, leads to from these. */
  private step(document: JsonDocument, key: i32, index: i32, places: u64): u64 {
    let next: u64 = 0;
    for (let left = places; left; left &= left - 1) {
      const place = <i32>ctz(left);
      const kind = this.kinds[place];
      if (kind == ANY_DEPTH) next |= (<u64>1) << <u64>place;
      else if (kind == ANY || (kind == KEY && this.isAt(document, key, index, this.keys[place]))) next |= (<u64>2) << <u64>place;
    }
    return this.close(next);
  }

  private isAt(document: JsonDocument, key: i32, index: i32, name: string): bool {
    return key >= 0 ? document.textIs(key, name) : index.toString() == name;
  }

  /** With the places behind each `**`, which may be passed without an entry. */
  private close(places: u64): u64 {
    let closed = places;
    for (let left = places; left; left &= left - 1) {
      let place = <i32>ctz(left);
      while (this.kinds[place] == ANY_DEPTH) closed |= (<u64>1) << <u64>++place;
    }
    return closed;
  }
}
