/** Reads a tree by its shape and collects every problem. An invalid value is omitted or replaced by its default. */
import { dirname, isAbsolute, join as joinPath } from "node:path";
import { adviseKey, translateName } from "./peer-words.ts";
import { findNearest, hasProblem, hint, hintKeys, isOneEdit, type Place, type Problem } from "./place.ts";
import { BUILTINS } from "./schema.ts";
import {
  type AnyShape,
  type Conversion,
  type EntriesShape,
  type Field,
  InvalidValue,
  type ObjectShape,
  type PluginUse,
  type Role,
  type ScalarShape,
  type Shape,
} from "./shape.ts";
import { describeTree, findEntry, join, type MapTree, makeTree, shorten, type Tree } from "./tree.ts";

export class Reader {
  readonly problems: Problem[] = [];
  readonly warnings: Problem[] = [];
  /** Null if the file has clusters in an invalid form, so that all are unknown. */
  readonly #clusters: readonly string[] | null;
  readonly #plugins: readonly string[];
  readonly #conversion: Conversion;

  /** `root` supplies the names of clusters and plugins, so that an invalid one is not also reported as unknown. */
  constructor(root: Tree, file: string) {
    this.#clusters = listClusters(root);
    this.#plugins = listKeys(root, "plugins");
    this.#conversion = {
      report: (at, message, absent) => this.#report(at, message, absent && { absent }),
      warn: (at, message) => addOnce(this.warnings, { ...at, message }),
      read: (shape, value, at) => this.read(shape, makeTree(value, at)),
      checkCluster: (name, at) => this.#checkCluster(name, at),
      hasProblem: (path) => hasProblem(this.problems, path),
      resolvePath: (path) => (isAbsolute(path) ? path : joinPath(dirname(file), path)),
    };
  }

  /** The value; undefined if it is invalid, with the reason in `problems`. */
  read<T>(shape: Shape<T>, tree: Tree): T | undefined {
    return this.#read(shape as AnyShape, tree) as T | undefined;
  }

  #read(shape: AnyShape, tree: Tree): unknown {
    if (tree.kind === "scalar" && tree.broken) return undefined;
    switch (shape.kind) {
      case "scalar":
        return this.#readScalar(shape, tree);
      case "list":
        return this.#readList(shape.item, shape.single, tree);
      case "entries":
        return this.#readEntries(shape, tree);
      case "object":
        return this.#readObject(shape, tree);
      case "use":
        return this.#readUse(shape.role, tree);
      case "free":
        return { tree };
      case "converted": {
        const value = this.#read(shape.from as AnyShape, tree);
        return value === undefined ? undefined : shape.convert(value, tree.at, this.#conversion, tree);
      }
    }
  }

  #readScalar(shape: ScalarShape<unknown>, tree: Tree): unknown {
    if (tree.kind !== "scalar")
      return this.#report(tree.at, `invalid value (a ${tree.kind}): expected ${shape.expected}`);
    if (tree.value === null) return this.#report(tree.at, this.#describeNothing(shape, tree.text));
    try {
      const value = shape.parse(tree.text);
      if (value === undefined)
        this.#report(tree.at, `invalid value "${shorten(tree.text)}": expected ${shape.expected}`);
      return value;
    } catch (error) {
      if (!(error instanceof InvalidValue)) throw error;
      return this.#report(tree.at, error.message);
    }
  }

  #describeNothing(shape: ScalarShape<unknown>, text: string): string {
    const message = `missing value: expected ${shape.expected}`;
    return text === "" ? message : `${message}: write "${text}" in quotes for the text`;
  }

  #readList(item: Shape<unknown>, single: boolean, tree: Tree): unknown {
    if (tree.kind !== "list" && !single) {
      const example = tree.kind === "scalar" && tree.value !== null ? `, such as [${shorten(tree.text)}]` : "";
      return this.#report(tree.at, `${describeTree(tree)}: expected a list${example}`);
    }
    const trees = tree.kind === "list" ? tree.items : [tree];
    return trees.map((one) => this.read(item, one)).filter((value) => value !== undefined);
  }

  #readEntries(shape: EntriesShape<unknown>, tree: Tree): unknown {
    const map = this.#expectMap(tree, "a map of names");
    return map?.entries.flatMap(({ key, keyAt, value: inner }) => {
      const name = this.#readScalar(shape.key, makeTree(key, keyAt)) as string | undefined;
      const value = this.read(shape.value, inner);
      return name === undefined || value === undefined ? [] : [{ name, at: keyAt, value }];
    });
  }

  #readObject(shape: ObjectShape<unknown>, tree: Tree): unknown {
    const known = Object.keys(shape.fields);
    const short = Object.keys(shape.shorthand).map((kind) => ` or a ${kind}`);
    const keys = tree.kind === "scalar" && short.length === 0 ? hintKeys(tree.text, known) : "";
    const map = this.#expectMap(expandShorthand(shape, tree), `a map${short.join("")}${keys}`);
    if (!map) return undefined;
    for (const { key, keyAt } of map.entries) {
      if (!Object.hasOwn(shape.fields, key)) this.#reportUnknown(key, keyAt, known);
    }
    const value: Record<string, unknown> = {};
    let whole = this.#checkOne(shape.one, map);
    for (const key of known) {
      const result = this.#readField(shape.fields[key]!, key, map);
      if (result !== undefined) value[key] = result;
      else if (shape.fields[key]!.otherwise !== "absent") whole = false;
    }
    return whole ? value : undefined;
  }

  /** Checks that exactly one of `oneOf` is present, whether or not its value is valid. */
  #checkOne(keys: readonly string[], map: MapTree): boolean {
    const given = keys.filter((key) => findEntry(map, key) !== undefined);
    if (keys.length === 0 || given.length === 1) return true;
    const found = given.length === 0 ? "none" : given.join(" and ");
    const absent = given.length === 0 ? { absent: keys } : undefined;
    this.#report(map.at, `expected one of the keys ${keys.join(", ")}, found ${found}`, absent);
    return false;
  }

  #readField(field: Field<unknown>, key: string, map: MapTree): unknown {
    const tree = findEntry(map, key);
    if (tree && field.otherwise === "given" && isEmptyMap(field.shape as AnyShape, tree))
      return this.#report(tree.at, "missing value: expected a map; {} is an empty one");
    const value = tree && this.read(field.shape, tree);
    if (value !== undefined) return value;
    if (field.otherwise === "absent") return undefined;
    if (field.otherwise === "given") {
      const message = `the key "${key}" is missing, expected ${name(field.shape as AnyShape)}`;
      if (!tree) this.#report(map.at, message, { absent: [key] });
      return undefined;
    }
    return this.read(field.shape, makeTree(field.otherwise.default, { ...map.at, path: join(map.at.path, key) }));
  }

  /** A key without a value (`plugins:` with every line below it commented out) is an empty map. */
  #expectMap(tree: Tree, expected: string): MapTree | undefined {
    if (tree.kind === "map") return tree;
    if (tree.kind === "scalar" && tree.value === null) return { kind: "map", entries: [], at: tree.at };
    const isOne = tree.kind === "scalar" && expected.endsWith(" list");
    this.#report(
      tree.at,
      `${describeTree(tree)}: expected ${expected}${isOne ? `, such as ["${shorten(tree.text)}"]` : ""}`,
    );
    return undefined;
  }

  #readUse(role: Role, tree: Tree): PluginUse | undefined {
    const expected = `the name of a ${role}, or a map with that name and its configuration`;
    if (tree.kind === "map" && tree.entries.length === 1) {
      const { key, keyAt, value } = tree.entries[0]!;
      return this.#checkUse({ name: key, config: { tree: value }, at: keyAt }, role);
    }
    if (tree.kind === "scalar" && tree.value !== null)
      return this.#checkUse({ name: tree.text, config: undefined, at: tree.at }, role);
    const found = tree.kind === "map" ? `invalid value (a map of ${tree.entries.length} keys)` : describeTree(tree);
    this.#report(tree.at, `${found}: expected ${expected}`);
    return undefined;
  }

  #checkUse(use: PluginUse, role: Role): PluginUse {
    if (this.#plugins.includes(use.name)) return use;
    const kind = Object.hasOwn(BUILTINS, use.name) ? BUILTINS[use.name] : undefined;
    if (kind === role) return use;
    const known = [...Object.keys(BUILTINS).filter((one) => BUILTINS[one] === role), ...this.#plugins];
    if (kind !== undefined) this.#report(use.at, `"${use.name}" is a ${kind}, expected a ${role}`);
    else {
      const meant = findNearest(use.name, known) ?? translateName(use.name, known);
      this.#report(use.at, `unknown ${role} "${use.name}", ${hint(meant ?? use.name, known)}`);
    }
    return use;
  }

  #checkCluster(name: string, at: Place): void {
    if (this.#clusters?.includes(name) === false)
      this.#report(at, `unknown cluster "${name}", ${hint(name, this.#clusters)}`);
  }

  #reportUnknown(key: string, at: Place, known: readonly string[]): void {
    const { text, meant } = adviseUnknown(key, known);
    this.#report(at, `unknown key "${key}", ${text}`, { meant });
  }

  /** Adds a problem once: an alias or a short form can read one position several times. */
  #report(at: Place, message: string, keys: Pick<Problem, "absent" | "meant"> = {}): undefined {
    addOnce(this.problems, { ...at, message, ...keys });
  }
}

function addOnce(list: Problem[], problem: Problem): undefined {
  const { line, column, message } = problem;
  if (!list.some((one) => one.line === line && one.column === column && one.message === message)) list.push(problem);
}

/** `meant`: the keys in the advice. */
function adviseUnknown(key: string, known: readonly string[]): { text: string; meant: readonly string[] } {
  const near = findNearest(key, known);
  // A word of another proxy that is further away is meant as such.
  const isSlip = near !== undefined && isOneEdit(key, near);
  const advice = isSlip ? undefined : adviseKey(key, known);
  if (advice === undefined) return { text: hint(key, known), meant: near === undefined ? [] : [near] };
  return { text: advice, meant: advice.match(/(?<=`)\w+/g) ?? [] };
}

function expandShorthand(shape: ObjectShape<unknown>, tree: Tree): Tree {
  if (tree.kind === "map") return tree;
  const key = shape.shorthand[tree.kind];
  if (key === undefined) return tree;
  // No value is an empty map, unless that is invalid.
  if (tree.kind === "scalar" && tree.value === null && !shape.one.includes(key)) return tree;
  return { kind: "map", entries: [{ key, keyAt: tree.at, value: tree }], at: tree.at };
}

/** A required map without a value: probably an incomplete file rather than an intended empty map. */
function isEmptyMap(shape: AnyShape, tree: Tree): boolean {
  if (shape.kind === "converted") return isEmptyMap(shape.from as AnyShape, tree);
  return shape.kind === "entries" && tree.kind === "scalar" && tree.value === null;
}

function listKeys(root: Tree, key: string): readonly string[] {
  const tree = findEntry(root, key);
  return tree?.kind === "map" ? tree.entries.map((entry) => entry.key) : [];
}

function listClusters(root: Tree): readonly string[] | null {
  const tree = findEntry(root, "clusters");
  const keys = root.kind === "map" ? root.entries.map(({ key }) => key) : [];
  const isElsewhere = (key: string) => adviseUnknown(key, ["clusters"]).meant.includes("clusters");
  if (tree === undefined ? keys.some(isElsewhere) : tree.kind !== "map") return null;
  return listKeys(root, "clusters");
}

/** Describes the values that a shape accepts. */
function name(shape: AnyShape): string {
  if (shape.kind === "scalar") return shape.expected;
  if (shape.kind === "converted") return name(shape.from as AnyShape);
  return shape.kind === "list" ? "a list" : "a map";
}
