/**
 * Reads the schema of a plugin's configuration: a documented subset of JSON Schema 2020-12, kept beside the plugin's
 * source and embedded in its module. Unsupported keywords are rejected when the plugin is built, because a keyword that
 * is silently ignored would look like a check.
 */
import { RE2JS } from "re2js";
import { LIMIT } from "../abi/abi.ts";
import { hint, omitFollowUps, type Place, type Problem } from "./place.ts";
import { checkTree } from "./plugin-config.ts";
import { type Decisions, toValue } from "./readings.ts";
import {
  type Bound,
  COUNTS,
  FORMATS,
  type Format,
  KEYWORDS,
  NUMBERS,
  type PluginSchema,
  TYPES,
  type TypeName,
  type Word,
} from "./schema-keywords.ts";
import type { Settings } from "./shape.ts";
import { type MapTree, makeTree, parseTree, type Tree } from "./tree.ts";

export type SchemaRead =
  | { readonly schema: PluginSchema; readonly problems: readonly [] }
  | { readonly schema: null; readonly problems: readonly Problem[] };

const MAX_SCHEMAS = 1000;
/** RE2 syntax as for route matches (`http-values.ts`): matching time is linear in the text. */
const MAX_REGEX_SIZE = 2000;

/** Parses the text of a schema file; reports each problem with its position. */
export function readPluginSchema(text: string, file: string): SchemaRead {
  const at: Place = { file, line: 1, column: 1, path: "" };
  const size = Buffer.byteLength(text);
  if (size > LIMIT.configSchema)
    return fail([{ ...at, message: `the schema is ${size} bytes, the limit is ${LIMIT.configSchema}` }]);
  // The YAML parser reads JSON with positions, but also accepts what is not JSON.
  const { tree, problems } = parseTree(text, { file, env: null });
  if (tree === null) return fail(problems);
  try {
    JSON.parse(text);
  } catch (error) {
    return fail([{ ...at, message: `not JSON: ${(error as Error).message}` }]);
  }
  return readTree(tree);
}

/** The configuration as passed to the plugin; null if none is given. */
export type SettingsRead = { readonly value: unknown; readonly problems: readonly Problem[] };

/**
 * Reads a plugin's configuration at `at` by its embedded schema. Without a schema (null) the type of every scalar must
 * be unambiguous. A missing or null configuration is read as an empty map.
 */
export function readSettings(schemaText: string | null, settings: Settings | undefined, at: Place): SettingsRead {
  const { schema, problems } = schemaText === null ? NO_SCHEMA : parsePluginSchema(schemaText, at);
  const tree = settings?.tree;
  const decisions: Decisions = new Map();
  const isNothing = tree === undefined || (tree.kind === "scalar" && tree.value === null);
  const found = [...problems];
  if (schema !== null) found.push(...checkTree(isNothing ? makeTree({}, tree?.at ?? at) : tree, schema, decisions));
  const undecided: Problem[] = [];
  const value = tree === undefined ? null : toValue(tree, decisions, undecided);
  // A value that violates the schema has no reading.
  if (found.length === 0) found.push(...undecided);
  return { value, problems: omitFollowUps(found) };
}

const NO_SCHEMA: SchemaRead = { schema: null, problems: [] };

/** Parses an embedded schema. It has no positions; it was validated when the module was built. */
export function parsePluginSchema(text: string, at: Place): SchemaRead {
  try {
    return readTree(makeTree(JSON.parse(text), at));
  } catch (error) {
    return fail([{ ...at, message: `its configuration schema is not JSON: ${(error as Error).message}` }]);
  }
}

function readTree(tree: Tree): SchemaRead {
  const reader = new SchemaReader();
  const schema = reader.read(tree);
  if (schema !== null && reader.problems.length === 0) return { schema, problems: [] };
  return fail(reader.problems);
}

function fail(problems: readonly Problem[]): SchemaRead {
  return { schema: null, problems };
}

class SchemaReader {
  readonly problems: Problem[] = [];
  #count = 0;

  read(tree: Tree): PluginSchema | null {
    if (tree.kind !== "map") return this.#report(tree, "expected a schema, which is a map");
    if (++this.#count > MAX_SCHEMAS) {
      if (this.#count === MAX_SCHEMAS + 1) this.#report(tree, `too many schemas, expected at most ${MAX_SCHEMAS}`);
      return null;
    }
    for (const { key, keyAt } of tree.entries) {
      if (KEYWORDS.includes(key)) continue;
      this.problems.push({ ...keyAt, message: `the keyword "${key}" would not be checked, ${hint(key, KEYWORDS)}` });
    }
    const given = new Map(tree.entries.map(({ key, value }) => [key, value]));
    const schema = this.#readKeywords(given, tree);
    const example = given.get("default");
    if (example !== undefined && schema !== null)
      for (const problem of checkTree(example, schema, new Map()))
        this.problems.push({ ...problem, message: `the default is not allowed: ${problem.message}` });
    return schema;
  }

  #readKeywords(given: ReadonlyMap<string, Tree>, tree: MapTree): PluginSchema | null {
    const bounds: { [B in Bound]?: number } = {};
    for (const key of [...COUNTS, ...NUMBERS]) {
      const found = given.get(key);
      if (found !== undefined) bounds[key] = this.#readNumber(found, (COUNTS as readonly string[]).includes(key));
    }
    const read = <T, E>(key: string, by: (tree: Tree) => T, otherwise: E): T | E => {
      const found = given.get(key);
      return found === undefined ? otherwise : by(found);
    };
    const properties = read("properties", (tree) => this.#readProperties(tree), new Map<string, PluginSchema>());
    const required = read("required", (tree) => this.#readWords(tree, "string") as string[] | null, null);
    const constant = given.get("const");
    const schema = {
      description: plain(given.get("description")),
      default: read("default", (tree) => toValue(tree, new Map(), []), undefined),
      secret: read("writeOnly", (tree) => this.#readFlag(tree), false),
      types: read("type", (tree) => this.#readTypes(tree), null),
      words: constant ? this.#readConstant(constant) : read("enum", (tree) => this.#readWords(tree, null), null),
      pattern: read("pattern", (tree) => this.#readPattern(tree), null),
      format: read("format", (tree) => this.#readFormat(tree), null),
      bounds,
      properties,
      required: required ?? [],
      additional: read("additionalProperties", (tree) => this.#readAdditional(tree), true),
      names: read("propertyNames", (tree) => this.read(tree), null),
      items: read("items", (tree) => this.read(tree), null),
      unique: read("uniqueItems", (tree) => this.#readFlag(tree), false),
      anyOf: read("anyOf", (tree) => this.#readList(tree), null),
      oneOf: read("oneOf", (tree) => this.#readList(tree), null),
    };
    if (constant !== undefined && given.has("enum")) this.#report(tree, "both enum and const are given, expected one");
    for (const key of required ?? [])
      if (schema.additional === false && !properties.has(key))
        this.#report(given.get("required")!, `"${key}" is required and not among the properties: nothing would do`);
    return schema;
  }

  #readAdditional(tree: Tree): PluginSchema | boolean {
    if (tree.kind === "scalar" && typeof tree.value === "boolean") return tree.value;
    return this.read(tree) ?? true;
  }

  #readProperties(tree: Tree): ReadonlyMap<string, PluginSchema> {
    const found = new Map<string, PluginSchema>();
    if (tree.kind !== "map") this.#report(tree, "expected a map of names to schemas");
    else
      for (const { key, value } of tree.entries) {
        const schema = this.read(value);
        if (schema !== null) found.set(key, schema);
      }
    return found;
  }

  #readList(tree: Tree): readonly PluginSchema[] | null {
    if (tree.kind !== "list" || tree.items.length === 0) return this.#report(tree, "expected a list of schemas");
    return tree.items.flatMap((item) => this.read(item) ?? []);
  }

  #readTypes(tree: Tree): readonly TypeName[] | null {
    const items = tree.kind === "list" ? tree.items : [tree];
    const types = items.flatMap((item) => {
      const type = TYPES.find((name) => item.kind === "scalar" && item.value === name);
      if (type === undefined) this.#report(item, `expected one of ${TYPES.join(", ")}`);
      return type ?? [];
    });
    return types.length === 0 ? null : types;
  }

  #readWords(tree: Tree, type: "string" | null): Word[] | null {
    if (tree.kind !== "list") return this.#report(tree, "expected a list");
    return tree.items.flatMap((item) => {
      if (item.kind === "scalar" && (type === null || typeof item.value === type)) return [item.value];
      this.#report(item, type === null ? "expected a string, a number, true, false or null" : `expected a ${type}`);
      return [];
    });
  }

  #readConstant(tree: Tree): Word[] | null {
    if (tree.kind === "scalar") return [tree.value];
    return this.#report(tree, "expected a string, a number, true, false or null");
  }

  #readPattern(tree: Tree): PluginSchema["pattern"] {
    if (tree.kind !== "scalar" || typeof tree.value !== "string") return this.#report(tree, "expected a string");
    try {
      const compiled = RE2JS.compile(tree.value);
      if (compiled.programSize() > MAX_REGEX_SIZE)
        return this.#report(tree, `the expression is too large, expected at most ${MAX_REGEX_SIZE} steps`);
      return { text: tree.value, compiled };
    } catch (error) {
      return this.#report(tree, `not a regular expression of RE2's syntax: ${(error as Error).message}`);
    }
  }

  #readFormat(tree: Tree): Format | null {
    if (tree.kind === "scalar" && Object.hasOwn(FORMATS, tree.text)) return tree.text as Format;
    const known = Object.keys(FORMATS).join(", ");
    return this.#report(tree, `the format "${plain(tree)}" would not be checked, expected one of ${known}`);
  }

  #readNumber(tree: Tree, isCount: boolean): number {
    const value = tree.kind === "scalar" ? tree.value : null;
    if (typeof value === "number" && (!isCount || (Number.isInteger(value) && value >= 0))) return value;
    this.#report(tree, isCount ? "expected a whole number from 0" : "expected a number");
    return 0;
  }

  #readFlag(tree: Tree): boolean {
    if (tree.kind === "scalar" && typeof tree.value === "boolean") return tree.value;
    this.#report(tree, "expected true or false");
    return false;
  }

  #report({ at }: Tree, message: string): null {
    this.problems.push({ ...at, message });
    return null;
  }
}

function plain(tree: Tree | undefined): string {
  return tree?.kind === "scalar" ? tree.text : "";
}
