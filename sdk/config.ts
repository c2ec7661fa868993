import { KIND } from "./abi";
import { KEY, KEY_CAP, VALUE, VALUE_CAP, decode, encode } from "./bytes";
import { config_count, config_get, config_key, config_kind } from "./imports";
import { requireConfigurable } from "./instance";
import { escapeKey } from "./key-path";
import { readNumber } from "./number";

/**
 * The plugin's `config` in sluice.yaml. A path selects a value: `header`, `rules.0.name`; the empty path is the whole
 * configuration. A dot in a key is escaped as `\.` (`Config.join` does that). Read it at the top of the file or in
 * `configure`: a value of the wrong type throws an Error with its path, and the configuration is rejected.
 */
export class Config {
  /** Whether there is a value; `null` counts as none. */
  static has(path: string): bool {
    return kind(path) > KIND.null_;
  }

  /** Whether the value is a map. */
  static isMap(path: string): bool {
    return kind(path) == KIND.map;
  }

  /** A scalar as a string. Required unless there is a fallback. */
  static string(path: string, fallback: string | null = null): string {
    const found = kind(path);
    if (found <= KIND.null_ && fallback !== null) return fallback;
    if (found < KIND.boolean || found > KIND.string) expected(path, "a string");
    return text(path);
  }

  /** An integer of 32 bits. Required unless there is a fallback. */
  static int(path: string, fallback: i32 = i32.MIN_VALUE): i32 {
    if (kind(path) <= KIND.null_ && fallback != i32.MIN_VALUE) return fallback;
    const value = number(path, "a whole number");
    if (value != Math.floor(value) || Math.abs(value) > <f64>i32.MAX_VALUE) expected(path, "a whole number");
    return <i32>value;
  }

  /** A number. Required unless there is a fallback. */
  static float(path: string, fallback: f64 = NaN): f64 {
    if (kind(path) <= KIND.null_ && !isNaN(fallback)) return fallback;
    return number(path, "a number");
  }

  /** A boolean; also the string `true` or `false`, since `${VAR}` is a string unless a schema requires a boolean. */
  static bool(path: string, fallback: bool = false): bool {
    const found = kind(path);
    if (found <= KIND.null_) return fallback;
    const value = found == KIND.boolean || found == KIND.string ? text(path) : "";
    if (value != "true" && value != "false") expected(path, "true or false");
    return value == "true";
  }

  /** Number of entries of the list or map; 0 if there is none. */
  static count(path: string): i32 {
    return max(config_count(KEY, encodePath(path)), 0);
  }

  /** The key of entry `index` of the map at this path. */
  static key(path: string, index: i32): string {
    const length = config_key(KEY, encodePath(path), index, VALUE, VALUE_CAP);
    if (length < 0 || length > VALUE_CAP) Config.refuse(path, `a map with an entry ${index}`);
    return decode(VALUE, length);
  }

  /** The keys of the map, in order; empty if there is none. */
  static keys(path: string): string[] {
    const found = kind(path);
    if (found > KIND.null_ && found != KIND.map) expected(path, "a map");
    const keys: string[] = [];
    for (let i = 0, n = Config.count(path); i < n; i++) keys.push(Config.key(path, i));
    return keys;
  }

  /** The scalars of the list as strings, in order; a single scalar is a list of one. */
  static list(path: string): string[] {
    const found = kind(path);
    const values: string[] = [];
    if (found <= KIND.null_) return values;
    if (found == KIND.list) {
      for (let i = 0, n = Config.count(path); i < n; i++) values.push(Config.string(Config.join(path, i.toString())));
    } else if (found < KIND.list) values.push(text(path));
    else expected(path, "a list");
    return values;
  }

  /** Rejects keys of the map other than these, such as misspelt ones. */
  static allow(path: string, keys: string[]): void {
    const found = Config.keys(path);
    for (let i = 0; i < found.length; i++) {
      if (!keys.includes(found[i])) throw new Error(`config ${Config.join(path, found[i])}: unknown key, expected one of ${keys.join(", ")}`);
    }
  }

  /** Rejects the configuration: throws with the value at this path and `what` was expected. */
  static refuse(path: string, what: string): void {
    expected(path, what);
  }

  /** `path.key`, or `key` if the path is empty; escapes dots and backslashes of the key. */
  static join(path: string, key: string): string {
    const escaped = escapeKey(key);
    return path.length ? path + "." + escaped : escaped;
  }
}

function encodePath(path: string): i32 {
  requireConfigurable();
  return encode(path, KEY, KEY_CAP);
}

function kind(path: string): i32 {
  return config_kind(KEY, encodePath(path));
}

/** A scalar as text; the caller has seen that there is one. */
function text(path: string): string {
  const length = config_get(KEY, encodePath(path), VALUE, VALUE_CAP);
  if (length <= VALUE_CAP) return decode(VALUE, length);
  const whole = new ArrayBuffer(length);
  config_get(KEY, encodePath(path), changetype<usize>(whole), length);
  return decode(changetype<usize>(whole), length);
}

/** A number, also as a string, since `${VAR}` is a string unless a schema requires a number. */
function number(path: string, what: string): f64 {
  const found = kind(path);
  if (found != KIND.number && found != KIND.string) expected(path, what);
  const length = config_get(KEY, encodePath(path), VALUE, VALUE_CAP);
  const value = length > VALUE_CAP ? NaN : readNumber(VALUE, VALUE + length);
  if (!isFinite(value)) expected(path, what);
  return value;
}

function expected(path: string, what: string): void {
  const found = kind(path);
  let shown = "nothing";
  if (found == KIND.null_) shown = "null";
  else if (found == KIND.list) shown = "a list";
  else if (found == KIND.map) shown = "a map";
  else if (found != KIND.absent) shown = `"${text(path)}"`;
  throw new Error(`config ${path.length ? path : "(all of it)"}: expected ${what}, found ${shown}`);
}
