import { ByteBuilder, Bytes } from "./binary";
import { hexDigit } from "./base64";
import { JSON_DEPTH } from "./json-scan";

/**
 * Writes JSON (RFC 8259), in UTF-8 and without spaces. Commas and colons come by themselves:
 *
 *     const json = new JsonWriter();
 *     json.beginObject().key("error").string("no token").key("code").number(401).endObject();
 *     req.respond(401, json.toString());
 *
 * A key without a value, a value without a key in a map, an end that ends nothing, a second value and more than 64
 * levels are errors.
 */
// @ts-ignore: decorator
@final
export class JsonWriter {
  private out: ByteBuilder = new ByteBuilder();
  /** For each level: is it a map, and has it an entry yet? */
  private maps: StaticArray<bool> = new StaticArray<bool>(JSON_DEPTH + 1);
  private begun: StaticArray<bool> = new StaticArray<bool>(JSON_DEPTH + 1);
  private depth: i32 = 0;
  /** A key was written, and its value was not. */
  private keyed: bool = false;

  /** Begins a map. */
  beginObject(): JsonWriter {
    return this.begin(true);
  }

  /** Ends the map that was begun last. */
  endObject(): JsonWriter {
    return this.finish(true);
  }

  /** Begins a list. */
  beginArray(): JsonWriter {
    return this.begin(false);
  }

  /** Ends the list that was begun last. */
  endArray(): JsonWriter {
    return this.finish(false);
  }

  /** The key of the value that comes next. */
  key(name: string): JsonWriter {
    if (!this.maps[this.depth] || this.keyed) misuse("a key that stands in no map");
    this.separate();
    this.quote(name);
    this.out.byte(0x3a);
    this.keyed = true;
    return this;
  }

  /** A text; null is `null`. */
  string(value: string | null): JsonWriter {
    if (value === null) return this.null();
    this.enter();
    this.quote(value);
    return this;
  }

  /** A number; what JSON has no word for (NaN, the infinities) is an error. */
  number(value: f64): JsonWriter {
    if (!isFinite(value)) misuse(`the number ${value}`);
    this.enter();
    const whole = Math.floor(value) == value && Math.abs(value) <= 9007199254740992;
    this.out.ascii(whole ? (<i64>value).toString() : value.toString());
    return this;
  }

  /** A whole number of up to 64 bits. Beyond 2^53 many readers lose digits. */
  integer(value: i64): JsonWriter {
    this.enter();
    this.out.ascii(value.toString());
    return this;
  }

  /** `true` or `false`. */
  bool(value: bool): JsonWriter {
    this.enter();
    this.out.ascii(value ? "true" : "false");
    return this;
  }

  /** `null`. */
  null(): JsonWriter {
    this.enter();
    this.out.ascii("null");
    return this;
  }

  /** A value that is JSON already, as `JsonValue.raw` answers; it is not looked at. */
  raw(json: Bytes): JsonWriter {
    this.enter();
    this.out.copy(changetype<usize>(json), json.length);
    return this;
  }

  /** What was written, in UTF-8. */
  toBytes(): Bytes {
    if (this.depth || !this.begun[0]) misuse("an end in the middle of a value");
    return this.out.toBytes();
  }

  /** What was written. */
  toString(): string {
    const bytes = this.toBytes();
    return String.UTF8.decodeUnsafe(changetype<usize>(bytes), bytes.length);
  }

  private begin(map: bool): JsonWriter {
    if (this.depth == JSON_DEPTH) misuse(`more than ${JSON_DEPTH} levels`);
    this.enter();
    this.out.byte(map ? 0x7b : 0x5b);
    this.depth++;
    this.maps[this.depth] = map;
    this.begun[this.depth] = false;
    return this;
  }

  private finish(map: bool): JsonWriter {
    if (!this.depth || this.maps[this.depth] != map || this.keyed) misuse("an end that ends nothing");
    this.depth--;
    this.out.byte(map ? 0x7d : 0x5d);
    return this;
  }

  /** Before a value. */
  private enter(): void {
    if (this.keyed) this.keyed = false;
    else if (this.maps[this.depth]) misuse("a value without a key in a map");
    else this.separate();
  }

  private separate(): void {
    if (this.begun[this.depth]) {
      if (!this.depth) misuse("a second value");
      this.out.byte(0x2c);
    }
    this.begun[this.depth] = true;
  }

  private quote(text: string): void {
    this.out.byte(0x22);
    for (let i = 0; i < text.length; i++) {
      const unit = text.charCodeAt(i);
      if (unit == 0x22 || unit == 0x5c) {
        this.out.byte(0x5c);
        this.out.byte(unit);
      } else if (unit < 0x20 || unit == 0x7f) this.escape(unit);
      else if (unit < 0x80) this.out.byte(unit);
      else if ((unit & 0xf800) != 0xd800) this.encode(text, i, 1);
      else if (unit < 0xdc00 && i + 1 < text.length && (text.charCodeAt(i + 1) & 0xfc00) == 0xdc00) this.encode(text, i++, 2);
      // Half of a pair has no UTF-8.
      else this.escape(unit);
    }
    this.out.byte(0x22);
  }

  private encode(text: string, at: i32, units: i32): void {
    const size = units == 2 ? 4 : text.charCodeAt(at) < 0x800 ? 2 : 3;
    String.UTF8.encodeUnsafe(changetype<usize>(text) + (<usize>at << 1), units, this.out.reserve(size));
  }

  private escape(unit: i32): void {
    this.out.ascii("\\u");
    for (let shift = 12; shift >= 0; shift -= 4) this.out.byte(hexDigit(<u8>((unit >> shift) & 15)));
  }
}

function misuse(what: string): void {
  throw new Error(`JSON: ${what}`);
}
