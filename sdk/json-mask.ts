import { ByteBuilder, Bytes, fromUtf8, toUtf8 } from "./binary";
import { Json, JsonDocument, JsonValue } from "./json";
import { JSON_DEPTH, NEXT, VALUE_BYTES } from "./json-scan";

// The paths form a nondeterministic automaton: each part of a path is a state, and each state is one bit of a u64.

const MAX_STATES: i32 = 64;

const LIST: i32 = 0x5b;

/** Returns the replacement for `value` as JSON, or null to keep it. `path` is the index of the path that matched. */
export type JsonReplacer = (value: JsonValue, path: i32) => Bytes | null;

/**
 * Replaces the values at given paths of a JSON text; all other bytes are unchanged. Create it at the top of the file or in
 * `configure`:
 *
 *     const mask = new JsonMask(["password", "card.number", "items.*.token", "**.secret"]);
 *     const clean = mask.apply(body);      // null: not JSON
 *
 * A path is keys and indices separated by dots. `*` matches one key or index, `**` zero or more. All values of a repeated key
 * are replaced. The paths have at most 64 parts in total, plus one per path. The time is proportional to the length of the
 * JSON times the number of paths that match at the same time.
 */
// @ts-ignore: decorator
@final
export class JsonMask {
  private count: i32 = 0;
  private keys: StaticArray<string> = new StaticArray<string>(MAX_STATES);
  /** For each key that is an array index, the index; otherwise -1. */
  private indices: StaticArray<i32> = new StaticArray<i32>(MAX_STATES);
  // Sets of states: keys, keys that are indices, `*`, `**`, ends of paths, starts of paths.
  private named: u64 = 0;
  private numbered: u64 = 0;
  private any: u64 = 0;
  private anyDepth: u64 = 0;
  private found: u64 = 0;
  private starts: u64 = 0;
  private replacement: Bytes;
  // The stack of enclosing levels: their states, end node and current entry.
  private levels: StaticArray<u64> = new StaticArray<u64>(JSON_DEPTH + 1);
  private ends: StaticArray<i32> = new StaticArray<i32>(JSON_DEPTH + 1);
  private entries: StaticArray<i32> = new StaticArray<i32>(JSON_DEPTH + 1);

  /** `replacement` is JSON; by default the string `***`. Throws if a path or the replacement is invalid. */
  constructor(paths: string[], replacement: string = '"***"') {
    this.replacement = toUtf8(replacement);
    if (!Json.parse(this.replacement)) throw new Error(`the replacement ${replacement} is not JSON`);
    for (let i = 0; i < paths.length; i++) this.add(paths[i]);
  }

  /** The JSON with values replaced, or the same object if nothing matched; null if it is not JSON. */
  apply(json: Bytes): Bytes | null {
    return this.walk(json, null);
  }

  /**
   * As `apply`, with replacements computed by `replacer`.
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
    // The current level. `entry` is the index in an array, -1 in an object.
    let level = 0;
    let states = start;
    let end = count;
    let entry = document.byteOf(0) == LIST ? 0 : -1;
    for (let node = 1; node < count; ) {
      while (node >= end) {
        level--;
        states = unchecked(this.levels[level]);
        end = unchecked(this.ends[level]);
        entry = unchecked(this.entries[level]);
      }
      let reached = (states & anyDepth) | ((states & any) << 1);
      if (entry >= 0) {
        if (states & numbered) reached |= this.stepByIndex(entry, states);
        entry++;
      } else {
        const key = node;
        node = load<i32>(rows + <usize>(VALUE_BYTES * node), NEXT);
        if (states & named) reached |= this.stepByKey(document, key, states);
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
        unchecked((this.levels[level] = states));
        unchecked((this.ends[level] = end));
        unchecked((this.entries[level] = entry));
        level++;
        states = reached;
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

  /** The replacement for a node that was reached in these states; null keeps it. */
  private replacementFor(document: JsonDocument, node: i32, states: u64, replacer: JsonReplacer | null): Bytes | null {
    if (!replacer) return this.replacement;
    const end = <u64>ctz(states & this.found);
    const path = <i32>popcnt(this.found & (((<u64>1) << end) - 1));
    const value = replacer(new JsonValue(document, node), path);
    if (value && !Json.parse(value)) throw new Error("a computed value is not JSON: " + fromUtf8(value));
    return value;
  }

  private add(path: string): void {
    const parts = path.split(".");
    if (this.count + parts.length + 1 > MAX_STATES) throw new Error(`JSON paths of more than ${MAX_STATES} parts`);
    this.starts |= this.next;
    for (let i = 0; i < parts.length; i++) {
      const part = parts[i];
      if (!part.length) throw new Error(`JSON path "${path}": empty part`);
      if (part == "*") this.any |= this.next;
      else if (part == "**") this.anyDepth |= this.next;
      else this.named |= this.next;
      this.put(part);
    }
    this.found |= this.next;
    this.put("");
  }

  /** The bit of the next state. */
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

  /** The states after an array entry with this index. */
  private stepByIndex(index: i32, states: u64): u64 {
    let next: u64 = 0;
    for (let left = states & this.numbered; left; left &= left - 1) {
      const state = <i32>ctz(left);
      if (unchecked(this.indices[state]) == index) next |= (<u64>2) << <u64>state;
    }
    return next;
  }

  /** The states after an object entry with this key. */
  private stepByKey(document: JsonDocument, key: i32, states: u64): u64 {
    let next: u64 = 0;
    // Most keys differ in the first character. An escape or a byte above ASCII requires a full comparison.
    const first = <i32>load<u8>(document.from + document.start(key) + 1);
    for (let left = states & this.named; left; left &= left - 1) {
      const state = <i32>ctz(left);
      const name = unchecked(this.keys[state]);
      if (first != <i32>load<u16>(changetype<usize>(name)) && first != 0x5c && first < 0x80) continue;
      if (document.textIs(key, name)) next |= (<u64>2) << <u64>state;
    }
    return next;
  }

  /** Adds the states after each `**`, which also matches nothing. */
  private close(states: u64): u64 {
    let closed = states;
    for (let left = closed & this.anyDepth; left; ) {
      const more = (left << 1) & ~closed;
      closed |= more;
      left = more & this.anyDepth;
    }
    return closed;
  }
}
