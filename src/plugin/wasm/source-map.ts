/**
 * Source maps (ECMA-426) of modules, for stacks with positions in the source.
 *
 * The source map of a WebAssembly module has one line, whose columns are offsets in the file. It is parsed when the module
 * is built and shared by all workers as one table in shared memory.
 */
import { createHash } from "node:crypto";
import { readFile, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { findCustomSection, Reader } from "./binary.ts";

export type SourceMap = {
  readonly files: readonly string[];
  /** Rows of four, ascending: offset in the file, number of the source file from 1 (0: none), line and column from 1. */
  readonly table: Uint32Array;
};

/** The member with the hash of the map's module, written by `plugin build`: maps of other builds are not used. */
export const MAP_MODULE = "x_sluice_module";

/** Most bytes of a map. A map has about six times the size of its module. */
const MOST_BYTES = 64 * 1024 * 1024;

const ROW = 4;
/** Most rows of a table: 64 MiB. */
const MOST_ROWS = 4 * 1024 * 1024;
const MOST_FILES = 100_000;

/** Loads the map of the module in the file `path`; null if there is none. Never rejects. */
export async function loadSourceMap(path: string, bytes: Uint8Array): Promise<SourceMap | null> {
  try {
    const text = await readMapText(path, bytes);
    return text === null ? null : decodeSourceMap(text, bytes);
  } catch {
    // An unusable map does not make the plugin unusable: stacks then have offsets, as without a map.
    return null;
  }
}

/** The map within the module, or from the file that it names, or from `path.map`. */
async function readMapText(path: string, bytes: Uint8Array): Promise<string | null> {
  const section = findCustomSection(bytes, "sourceMappingURL");
  const url = section === null ? "" : new Reader(section).name();
  const inline = /^data:application\/json(?:;charset=[\w-]+)?;base64,(.+)$/s.exec(url);
  if (inline) return Buffer.from(inline[1]!, "base64").toString("utf8");
  const named = url.replace(/^\.\//, "");
  const isPlain = named !== "" && named === basename(named) && named !== "..";
  // `path.map` first: the module may have been renamed after the build.
  for (const file of new Set([`${path}.map`, ...(isPlain ? [join(dirname(path), named)] : [])])) {
    const found = await stat(file).catch(() => null);
    if (found?.isFile() && found.size <= MOST_BYTES) return readFile(file, "utf8");
  }
  return null;
}

/** Parses a map; null if it belongs to another module. @throws Error if it is not a source map */
export function decodeSourceMap(text: string, module: Uint8Array): SourceMap | null {
  const map = JSON.parse(text) as {
    version: unknown;
    mappings: unknown;
    sources: unknown;
    sourceRoot?: unknown;
    [MAP_MODULE]?: unknown;
  };
  if (map.version !== 3 || typeof map.mappings !== "string" || !Array.isArray(map.sources))
    throw new Error("not a source map of version 3");
  const owner = map[MAP_MODULE];
  if (owner !== undefined && owner !== createHash("sha256").update(module).digest("hex")) return null;
  if (map.sources.length > MOST_FILES) throw new Error(`${map.sources.length} sources, the limit is ${MOST_FILES}`);
  const root = typeof map.sourceRoot === "string" && map.sourceRoot !== "" ? `${cut(map.sourceRoot)}/` : "";
  // Names are copied for every worker: a root of a megabyte with thousands of names would exhaust the memory.
  const files = map.sources.map((source) => cut(root + cut(String(source))));
  return { files, table: decodeMappings(map.mappings, files.length) };
}

/** Truncates a name; one character more than is shown marks it as truncated. */
function cut(name: string): string {
  return name.length > LONGEST ? name.slice(0, LONGEST + 1) : name;
}

/** The value of a base64 digit by its character code; -1 for anything else. */
const DIGITS = new Int8Array(128).fill(-1);
for (const [value, digit] of [..."ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"].entries())
  DIGITS[digit.charCodeAt(0)] = value;

/** Decodes the segments of the first line: `column[, source, line, column[, name]]`, relative to the previous ones. */
function decodeMappings(mappings: string, files: number): Uint32Array {
  const line = mappings.indexOf(";");
  const end = line < 0 ? mappings.length : line;
  const rows = countSegments(mappings, end);
  if (rows > MOST_ROWS) throw new Error(`${rows} segments, the limit is ${MOST_ROWS}`);
  const table = new Uint32Array(new SharedArrayBuffer(4 * ROW * rows));
  const place = [0, 0, 0, 0, 0];
  let at = 0;
  for (let row = 0; row < table.length; row += ROW) {
    while (mappings.charCodeAt(at) === COMMA) at++;
    const start = at;
    let field = 0;
    for (; at < end && mappings.charCodeAt(at) !== COMMA; field++) {
      if (field >= place.length) throw new Error("a segment has more than five fields");
      at = addVlq(mappings, at, place, field);
    }
    table[row] = place[0]!;
    if (field < 4) continue;
    if (place[1]! < 0 || place[1]! >= files || place[2]! < 0 || place[3]! < 0)
      throw new Error(`the segment at ${start} names no place`);
    for (let i = 1; i < ROW; i++) table[row + i] = place[i]! + 1;
  }
  return table;
}

const COMMA = 44;

/** Number of segments that are not empty. */
function countSegments(mappings: string, end: number): number {
  let count = 0;
  let before = COMMA;
  for (let at = 0; at < end; at++) {
    const character = mappings.charCodeAt(at);
    if (before === COMMA && character !== COMMA) count++;
    before = character;
  }
  return count;
}

/**
 * Adds the VLQ number at `start` to a field and returns its end. Digits are base64 with five bits each, least significant
 * first, 32 for continuation; the lowest bit of the number is its sign.
 */
function addVlq(text: string, start: number, fields: number[], field: number): number {
  let value = 0;
  let shift = 0;
  for (let at = start; ; at++) {
    const bits = DIGITS[text.charCodeAt(at)] ?? -1;
    if (bits < 0 || shift > 30) throw new Error("not base64 digits");
    value |= (bits & 31) << shift;
    shift += 5;
    if (bits >= 32) continue;
    fields[field]! += (value & 1) === 1 ? -(value >>> 1) : value >>> 1;
    return at + 1;
  }
}

/** `file:line:col` of an offset in the module's file; null where the map has no entry. */
export function locate(map: SourceMap, offset: number): string | null {
  return placeAt(map, ROW * rowOf(map, offset));
}

/** Index of the row that an offset belongs to; -1 if it precedes all rows. */
function rowOf({ table }: SourceMap, offset: number): number {
  let low = 0;
  let high = table.length / ROW;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (table[ROW * middle]! <= offset) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

function placeAt({ files, table }: SourceMap, at: number): string | null {
  if (at < 0 || table[at + 1] === 0) return null;
  return `${readable(files[table[at + 1]! - 1]!)}:${table[at + 2]}:${table[at + 3]}`;
}

/** Most characters of a function's or file's name: the module chooses them, and they are written to logs and terminals. */
const LONGEST = 256;

function readable(name: string): string {
  const short = name.length > LONGEST ? `${name.slice(0, LONGEST)}…` : name;
  return short.replace(/\p{Cc}/gu, "?");
}

/** Positions of generated code: between a `throw` and the host, and between the host and a hook. */
const OURS = /^~lib\/sluice\/sdk\/abort\.ts:|~hooks\.ts:/;
/** Names of functions: those that a `throw` calls, those of the SDK, and also those around hooks. */
const ABORT = /^~lib\/sluice\/sdk\/abort\//;
const SDK = /^~lib\/sluice\/sdk\//;
const OUR_NAMES = /^~lib\/sluice\/sdk\/|~hooks\//;
/** Names and positions of library code. */
const LIBRARY_NAME = /^~lib\//;
const LIBRARY = /^~lib\/|~hooks\.ts:/;
/** Most rows that are searched for one position: a map may have millions. */
const MAX_SEARCHED = 1000;
const PLAIN = /^[^\0-\x1f\x7f]+$/;

/** A frame of a stack; `offset` and `start` (of its function) are offsets in the file. */
export type Frame = { readonly name: string; readonly index: string; readonly start: number; readonly offset: number };

/**
 * Formats a stack, one line per frame: the author's frames first, then those of libraries. Frames of the SDK are omitted
 * if it threw the error. `thrown`: the position of the `throw`, as passed to `abort`, for which the map has no entry; may
 * be empty.
 */
export function describeStack(map: SourceMap | null, frames: readonly Frame[], thrown: string): string {
  const own = frames.filter(({ name }) => !ABORT.test(name));
  const isThrown = thrown !== "" || own.length < frames.length;
  if (isThrown && map !== null) while (own.length > 1 && SDK.test(own[0]!.name)) own.shift();
  const authors: string[] = [];
  const libraries: string[] = [];
  for (const [at, frame] of own.entries()) {
    const isLibrary = LIBRARY_NAME.test(frame.name);
    const given = at === 0 && isThrown && PLAIN.test(thrown) ? thrown : null;
    const line = describeFrame(frame, placeOf(map, frame, isLibrary, given), map !== null);
    if (line !== null) (isLibrary ? libraries : authors).push(line);
  }
  return [...authors, ...libraries].join("\n");
}

/**
 * The position of a frame. For a function of the author it is always in the author's code: if library code was inlined, or
 * the map has no entry, the `given` position is used, or the author's last position before the offset.
 */
function placeOf(map: SourceMap | null, frame: Frame, isLibrary: boolean, given: string | null): string | null {
  const mapped = map === null ? null : locate(map, frame.offset);
  if (isAuthors(mapped) || (isLibrary && given === null)) return mapped;
  if (map === null || isAuthors(given)) return given;
  return (isLibrary ? null : lastPlaceOfAuthor(map, frame)) ?? given ?? mapped;
}

function isAuthors(place: string | null): boolean {
  return place !== null && !LIBRARY.test(place);
}

function lastPlaceOfAuthor(map: SourceMap, { start, offset }: Frame): string | null {
  const last = ROW * rowOf(map, offset);
  for (let at = last; at > last - ROW * MAX_SEARCHED && at >= 0 && map.table[at]! >= start; at -= ROW) {
    const place = placeAt(map, at);
    if (isAuthors(place)) return place;
  }
  return null;
}

/** Formats a frame; null for generated code. With a position, names lose their paths. */
function describeFrame({ name: full, index, offset }: Frame, place: string | null, isMapped: boolean): string | null {
  const short = full.slice(0, LONGEST + 1);
  if (place === null ? isMapped && OUR_NAMES.test(short) : OURS.test(place)) return null;
  const name = readable(isMapped ? readableName(short) : short);
  const where = place ?? `function[${index}]+0x${offset.toString(16)}`;
  return name === "" ? where : place === null ? `${name} ${where}` : `${name} (${where})`;
}

/** Shortens `~lib/array/Array<~lib/string/String>#push` to `Array<String>#push`. */
export function readableName(name: string): string {
  let kept = "";
  let from = 0;
  // Start of the path that the next `/` ends.
  let path = 0;
  for (let at = 0; at < name.length; at++) {
    if (name[at] === "/") {
      kept += name.slice(from, path);
      from = path = at + 1;
    } else if (!PATH.test(name[at]!)) path = at + 1;
  }
  return kept + name.slice(from);
}

const PATH = /[\w.~@-]/;
