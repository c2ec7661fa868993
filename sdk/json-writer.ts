import { ByteBuilder, Bytes } from "./binary";
import { hexDigit } from "./base64";
import { JSON_DEPTH } from "./json-scan";

/**
 * Writes JSON (RFC 8259) in UTF-8, without white space. Adds commas and colons:
 *
 *     const json = new JsonWriter();
 *     json.beginObject().key("error").string("no token").key("code").number(401).endObject();
 *     req.respond(401, json.toString());
 *
 * Throws for invalid sequences: a key without a value, a value without a key in an object, an unmatched end, a second
 * top-level value, more than 64 levels.
 */
// @ts-ignore: decorator
@final
export class JsonWriter {
  private out: ByteBuilder = new ByteBuilder();
  /** For each level: whether it is an object, and whether it has an entry. */
  private maps: StaticArray<bool> = new StaticArray<bool>(JSON_DEPTH + 1);
  private begun: StaticArray<bool> = new StaticArray<bool>(JSON_DEPTH + 1);
  private depth: i32 = 0;
  /** Whether a key was written without its value so far. */
  private keyed: bool = false;

  /** Starts an object. */
  beginObject(): JsonWriter {
    return this.begin(true);
  }

  /** Ends the current object. */
  endObject(): JsonWriter {
    return this.finish(true);
  }

  /** Starts an array. */
  beginArray(): JsonWriter {
    return this.begin(false);
  }

  /** Ends the current array. */
  endArray(): JsonWriter {
    return this.finish(false);
  }

  /** Writes the key of the next value. */
  key(name: string): JsonWriter {
    if (!this.maps[this.depth] || this.keyed) misuse("a key outside of an object");
    this.separate();
    this.quote(name);
    this.out.byte(0x3a);
    this.keyed = true;
    return this;
  }

  /** Writes a string; `null` for null. */
  string(value: string | null): JsonWriter {
    if (value === null) return this.null();
    this.enter();
    this.quote(value);
    return this;
  }

  /** Writes a number. Throws for NaN and infinities, which JSON cannot represent. */
  number(value: f64): JsonWriter {
    if (!isFinite(value)) misuse(`the number ${value}`);
    this.enter();
    const whole = Math.floor(value) == value && Math.abs(value) <= 9007199254740992;
    this.out.ascii(whole ? (<i64>value).toString() : value.toString());
    return this;
  }

  /** Writes an integer of 64 bits. Many parsers lose precision above 2^53. */
  integer(value: i64): JsonWriter {
    this.enter();
    this.out.ascii(value.toString());
    return this;
  }

  /** Writes `true` or `false`. */
  bool(value: bool): JsonWriter {
    this.enter();
    this.out.ascii(value ? "true" : "false");
    return this;
  }

  /** Writes `null`. */
  null(): JsonWriter {
    this.enter();
    this.out.ascii("null");
    return this;
  }

  /** Writes a value that is JSON already, such as the result of `JsonValue.raw`. It is not checked. */
  raw(json: Bytes): JsonWriter {
    this.enter();
    this.out.copy(changetype<usize>(json), json.length);
    return this;
  }

  /** The JSON in UTF-8. Throws if it is incomplete. */
  toBytes(): Bytes {
    if (this.depth || !this.begun[0]) misuse("an incomplete value");
    return this.out.toBytes();
  }

  /** The JSON as a string. Throws if it is incomplete. */
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
    if (!this.depth || this.maps[this.depth] != map || this.keyed) misuse("an unmatched end");
    this.depth--;
    this.out.byte(map ? 0x7d : 0x5d);
    return this;
  }

  /** Checks that a value is allowed here, and writes a comma if necessary. */
  private enter(): void {
    if (this.keyed) this.keyed = false;
    else if (this.maps[this.depth]) misuse("a value without a key in an object");
    else this.separate();
  }

  private separate(): void {
    if (this.begun[this.depth]) {
      if (!this.depth) misuse("a second top-level value");
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
      // A lone surrogate cannot be encoded in UTF-8.
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
