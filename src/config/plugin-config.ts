/** Validates a plugin's configuration against its schema; reports every problem with its position. */
import { findNearest, hint, hintKeys, type Place, type Problem } from "./place.ts";
import {
  chooseReading,
  type Decisions,
  describeAmbiguity,
  describeRounded,
  isRounded,
  listReadings,
} from "./readings.ts";
import { FORMATS, type PluginSchema } from "./schema-keywords.ts";
import { describeTree, type ListTree, type MapTree, makeTree, type Plain, type ScalarTree, type Tree } from "./tree.ts";

/**
 * Returns the problems of `tree`; a value of the wrong type is not checked further. The reading of each scalar that
 * the schema selects is stored in `decisions`.
 */
export function checkTree(tree: Tree, schema: PluginSchema, decisions: Decisions): Problem[] {
  if (tree.kind === "scalar" && tree.form !== "given") return decide(tree, schema, decisions);
  if (!hasType(tree, schema))
    return [{ ...tree.at, message: `${describe(tree, schema)}: expected ${expected(schema)}${hintMap(tree, schema)}` }];
  const problems = [
    ...(tree.kind === "scalar" ? checkScalar(tree, schema) : []),
    ...(tree.kind === "list" ? checkList(tree, schema, decisions) : []),
    ...(tree.kind === "map" ? checkMap(tree, schema, decisions) : []),
  ];
  if (schema.anyOf !== null) problems.push(...checkAny(tree, { whole: schema, branches: schema.anyOf, decisions }));
  if (schema.oneOf !== null) problems.push(...checkAny(tree, { whole: schema, branches: schema.oneOf, decisions }));
  if (tree.kind === "scalar" && schema.format !== null && problems.length === 0)
    decisions.set(tree, formatted(tree.value, schema));
  return problems;
}

/** Selects one of the readings of a scalar that the schema allows, or reports a problem. */
function decide(tree: ScalarTree, schema: PluginSchema, decisions: Decisions): Problem[] {
  if (tree.broken) return [];
  const tried = listReadings(tree).map((value) => {
    const given: ScalarTree = { ...tree, form: "given", value };
    const problems = checkTree(given, schema, decisions);
    return { value: decisions.get(given) ?? value, problems };
  });
  const allowed = tried.filter(({ problems }) => problems.length === 0).map(({ value }) => value);
  const exact = allowed.filter((value) => !isRounded(tree, value));
  // JSON has no infinite numbers, and bounds do not exclude `.nan`.
  if (allowed.length === 1 && typeof allowed[0] === "number" && !Number.isFinite(allowed[0]))
    return [{ ...tree.at, message: `${describe(tree, schema)}: expected ${expected(schema)}` }];
  if (allowed.length === 0) return addQuoting(tree, schema, tried[0]!.problems);
  if (exact.length === 0)
    return [{ ...tree.at, message: schema.secret ? describeAmbiguity(tree, true) : describeRounded(tree) }];
  const value = chooseReading(tree, allowed);
  if (value === undefined) return [{ ...tree.at, message: describeAmbiguity(tree, schema.secret) }];
  // If two subschemas apply to one scalar, the reading of the first is kept.
  if (!decisions.has(tree)) decisions.set(tree, value);
  return [];
}

/** The normalised text that the plugin receives; null if it does not match the schema's format. */
function formatted(value: Plain, { format }: PluginSchema): Plain {
  return format === null || typeof value !== "string" ? value : FORMATS[format](value);
}

/** `null` means no value; if the text `null` would be valid, the message mentions quoting it. */
function addQuoting(tree: ScalarTree, schema: PluginSchema, problems: Problem[]): Problem[] {
  if (tree.value !== null || tree.text === "") return problems;
  const asText = checkTree({ ...tree, form: "given", value: tree.text }, schema, new Map());
  if (asText.length > 0) return problems;
  return problems.map((one) => ({ ...one, message: `${one.message}: write "${tree.text}" in quotes for the text` }));
}

/** The value for a message; masked if it is a secret. */
function describe(tree: Tree, { secret }: PluginSchema): string {
  return secret && tree.kind === "scalar" && tree.value !== null ? "invalid value (a secret)" : describeTree(tree);
}

/** The keys of the expected map. */
function hintMap(tree: Tree, { types, properties }: PluginSchema): string {
  const isMap = types?.length === 1 && types[0] === "object";
  return isMap && tree.kind === "scalar" ? hintKeys(tree.text, [...properties.keys()]) : "";
}

function hasType(tree: Tree, { types }: PluginSchema): boolean {
  return types === null || types.some((type) => isOf(tree, type));
}

function isOf(tree: Tree, type: string): boolean {
  if (tree.kind !== "scalar") return type === (tree.kind === "list" ? "array" : "object");
  const { value } = tree;
  if (value === null) return type === "null";
  if (typeof value === "number") return type === "number" || (type === "integer" && Number.isInteger(value));
  return type === typeof value;
}

function checkScalar(tree: ScalarTree, schema: PluginSchema): Problem[] {
  const { value, at } = tree;
  const { words, pattern, bounds } = schema;
  const length = typeof value === "string" ? Array.from(value).length : 0;
  const wrong =
    (words !== null && !words.includes(value)) ||
    (typeof value === "string" &&
      (length < (bounds.minLength ?? 0) ||
        length > (bounds.maxLength ?? Number.POSITIVE_INFINITY) ||
        formatted(value, schema) === null ||
        (pattern !== null && !pattern.compiled.matcher(value).find()))) ||
    (typeof value === "number" && !isWithin(value, bounds));
  return wrong ? [{ ...at, message: `${describe(tree, schema)}: expected ${expected(schema)}` }] : [];
}

function isWithin(value: number, { minimum, maximum, exclusiveMinimum, exclusiveMaximum }: PluginSchema["bounds"]) {
  return !(
    (minimum !== undefined && value < minimum) ||
    (maximum !== undefined && value > maximum) ||
    (exclusiveMinimum !== undefined && value <= exclusiveMinimum) ||
    (exclusiveMaximum !== undefined && value >= exclusiveMaximum)
  );
}

function checkList({ items, at }: ListTree, schema: PluginSchema, decisions: Decisions): Problem[] {
  const { bounds, unique, items: inner } = schema;
  const problems = checkCount(items.length, "entries", at, bounds.minItems, bounds.maxItems);
  if (schema.words !== null) problems.push({ ...at, message: `invalid value (a list): expected ${expected(schema)}` });
  const seen = new Set<unknown>();
  for (const item of items) {
    if (inner !== null) problems.push(...checkTree(item, inner, decisions));
    if (!unique || item.kind !== "scalar") continue;
    const shown = (inner ?? schema).secret ? "a secret" : `"${item.text}"`;
    const value = decisions.get(item) ?? item.value;
    if (seen.has(value)) problems.push({ ...item.at, message: `duplicate value ${shown}` });
    seen.add(value);
  }
  return problems;
}

function checkMap(tree: MapTree, schema: PluginSchema, decisions: Decisions): Problem[] {
  const { properties, required, additional, names, bounds } = schema;
  const problems = checkCount(tree.entries.length, "keys", tree.at, bounds.minProperties, bounds.maxProperties);
  if (schema.words !== null)
    problems.push({ ...tree.at, message: `invalid value (a map): expected ${expected(schema)}` });
  for (const { key, keyAt, value } of tree.entries) {
    const own = properties.get(key);
    if (names !== null && checkTree(makeTree(key, keyAt), names, new Map()).length > 0)
      problems.push({ ...keyAt, message: `the key "${key}" is not allowed, expected ${expected(names)}` });
    if (own !== undefined) problems.push(...checkTree(value, own, decisions));
    else if (additional === false) {
      const known = [...properties.keys()];
      const meant = findNearest(key, known);
      const message = `unknown key "${key}", ${hint(key, known)}`;
      problems.push({ ...keyAt, message, meant: meant === undefined ? [] : [meant] });
    } else if (additional !== true) problems.push(...checkTree(value, additional, decisions));
  }
  for (const key of required) {
    if (tree.entries.some((entry) => entry.key === key)) continue;
    const inner = properties.get(key);
    const what = inner === undefined ? "" : `, expected ${expected(inner)}`;
    problems.push({ ...tree.at, message: `the key "${key}" is missing${what}`, absent: [key] });
  }
  return problems;
}

function checkCount(found: number, what: string, at: Place, least = 0, most = Number.POSITIVE_INFINITY): Problem[] {
  if (found >= least && found <= most) return [];
  const range = most === Number.POSITIVE_INFINITY ? `at least ${least}` : `${least} to ${most}`;
  return [{ ...at, message: `${found} ${what}: expected ${range}` }];
}

type Alternatives = {
  readonly whole: PluginSchema;
  readonly branches: readonly PluginSchema[];
  readonly decisions: Decisions;
};

/** Reports the problems of the alternative that was clearly intended; otherwise lists what each alternative expects. */
function checkAny(tree: Tree, { whole, branches, decisions }: Alternatives): Problem[] {
  const exactlyOne = branches === whole.oneOf;
  const tried = branches.map((branch) => {
    // A secret is masked under each alternative.
    const schema = whole.secret ? { ...branch, secret: true } : branch;
    const made: Decisions = new Map();
    return { schema, made, problems: checkTree(tree, schema, made) };
  });
  const fitting = tried.filter(({ problems }) => problems.length === 0);
  for (const { made } of fitting)
    for (const [scalar, value] of made) if (!decisions.has(scalar)) decisions.set(scalar, value);
  if (fitting.length === 1 || (fitting.length > 1 && !exactlyOne)) return [];
  const keys = listChoices(branches);
  if (tree.kind === "map" && keys !== null) {
    const given = keys.filter((key) => tree.entries.some((entry) => entry.key === key));
    if (given.length === 1) return tried[keys.indexOf(given[0]!)]!.problems;
    const found = given.length === 0 ? "none of them" : given.join(" and ");
    return [{ ...tree.at, message: `expected one of the keys ${keys.join(", ")}, found ${found}` }];
  }
  if (fitting.length > 1) {
    const all = fitting.map(({ schema }) => expected(schema)).join(", ");
    return [{ ...tree.at, message: `${describe(tree, whole)}, which is more than one of: ${all}` }];
  }
  const meant = tried.filter(({ schema }) => hasType(tree, schema));
  if (meant.length === 1) return meant[0]!.problems;
  const all = branches.map(expected).join(", or ");
  return [{ ...tree.at, message: `${describe(tree, whole)}: expected ${all}` }];
}

/** The keys that distinguish alternatives: each alternative requires one of its own. */
function listChoices(branches: readonly PluginSchema[]): readonly string[] | null {
  const keys = branches.map(({ required }) => required[0]);
  const isDistinct = keys.every((key) => key !== undefined) && new Set(keys).size === keys.length;
  return isDistinct ? (keys as string[]) : null;
}

const WORDS = {
  path: "a path that begins with /",
  target: "a path that begins with /, with a query or without",
  "uri-template": "a URL or a path, with fields in braces or without",
  string: "a string",
  integer: "a whole number",
  number: "a number",
  boolean: "true or false",
  array: "a list",
  object: "a map",
  null: "nothing",
} as const;

/** Describes what a schema accepts: `a whole number from 1 to 10`. */
export function expected(schema: PluginSchema): string {
  const { types, words, pattern, format, bounds, anyOf, oneOf } = schema;
  if (words !== null) {
    const shown = words.map((word) => (word === null ? "nothing" : String(word)));
    return shown.length === 1 ? shown[0]! : `one of ${shown.join(", ")}`;
  }
  if (types === null && pattern === null && format === null) {
    const branches = anyOf ?? oneOf;
    return branches === null ? "a value" : branches.map(expected).join(" or ");
  }
  const range = describeRange(bounds);
  return (types ?? (["string"] as const))
    .map((type) => {
      if (type === "string")
        return `${WORDS[format ?? "string"]}${describeLength(bounds)}${pattern === null ? "" : ` that matches ${pattern.text}`}`;
      return type === "integer" || type === "number" ? `${WORDS[type]}${range}` : WORDS[type];
    })
    .join(" or ");
}

function describeRange({ minimum, maximum, exclusiveMinimum, exclusiveMaximum }: PluginSchema["bounds"]): string {
  const parts = [
    minimum === undefined ? "" : ` from ${minimum}`,
    exclusiveMinimum === undefined ? "" : ` above ${exclusiveMinimum}`,
    maximum === undefined ? "" : ` to ${maximum}`,
    exclusiveMaximum === undefined ? "" : ` below ${exclusiveMaximum}`,
  ];
  return parts.join("");
}

function describeLength({ minLength, maxLength }: PluginSchema["bounds"]): string {
  if (minLength === 1 && maxLength === undefined) return " that is not empty";
  if (minLength === undefined && maxLength === undefined) return "";
  if (maxLength === undefined) return ` of at least ${minLength} characters`;
  return minLength === undefined
    ? ` of at most ${maxLength} characters`
    : ` of ${minLength} to ${maxLength} characters`;
}

export type Setting = {
  /** `limits.perSecond`. */
  readonly key: string;
  readonly value: string;
  /** `required`, the default as written in YAML, or empty. */
  readonly usual: string;
  readonly description: string;
};

/** Every key of a schema in depth-first order, for documentation. */
export function describeSettings(schema: PluginSchema, before = ""): Setting[] {
  return Array.from(schema.properties).flatMap(([name, inner]) => {
    const key = `${before}${name}`;
    const given = inner.default === undefined ? "" : show(inner.default);
    const usual = schema.required.includes(name) ? "required" : given;
    const value = expected(inner)
      .replace(/ or nothing$/, "")
      .replace(/^an? /, "");
    return [{ key, value, usual, description: inner.description }, ...describeSettings(inner, `${key}.`)];
  });
}

function show(value: unknown): string {
  return typeof value === "string" && value !== "" ? value : JSON.stringify(value);
}
