/**
 * Parses YAML text into a tree of plain values with positions. Resolves aliases, merge keys and `${VARIABLES}`, so that
 * later stages are independent of YAML.
 */
import * as yaml from "yaml";
import type { Place, Problem } from "./place.ts";
import { type Anchors, listAnchors, listSyntaxProblems } from "./syntax.ts";
import {
  type Environment,
  expandVariables,
  findMalformed,
  hasShields,
  shield,
  unshield,
  VariableError,
} from "./variables.ts";

export type Tree = ScalarTree | ListTree | MapTree;
export type ScalarTree = {
  readonly kind: "scalar";
  /** As written, with quotes and escapes decoded and variables expanded. */
  readonly text: string;
  /** The YAML value; the text if it is quoted or contains a variable. */
  readonly value: Plain;
  /**
   * `plain`: unquoted, so `1.10` may be text or a number; `quoted`: text; `variable`: text with an expanded variable,
   * converted where a number or a boolean is expected; `given`: exactly `value`.
   */
  readonly form: "plain" | "quoted" | "variable" | "given";
  readonly at: Place;
  /** Without a value because of a problem that is already reported; suppresses further problems. */
  readonly broken?: true;
};
export type Plain = string | number | boolean | null;
export type ListTree = { readonly kind: "list"; readonly items: readonly Tree[]; readonly at: Place };
export type MapTree = { readonly kind: "map"; readonly entries: readonly Entry[]; readonly at: Place };
export type Entry = { readonly key: string; readonly keyAt: Place; readonly value: Tree };

export type { Environment } from "./variables.ts";

/** Bounds the values that aliases expand to ("billion laughs" attack). */
const MAX_VALUES = 100_000;
const MAX_DEPTH = 100;

/**
 * Parses YAML. An empty file is an empty map; on a syntax error the tree is null. Without `env`, as for JSON, `${` is
 * literal text and 5 is not a string.
 */
export function parseTree(
  text: string,
  options: { file: string; env: Environment | null },
): { tree: Tree | null; problems: Problem[] } {
  const builder = new TreeBuilder(text, options.file, options.env);
  const tree = builder.build();
  return { tree, problems: builder.problems };
}

/** Builds a tree of a plain value, with one position for all of it. */
export function makeTree(value: unknown, at: Place): Tree {
  if (Array.isArray(value)) return { kind: "list", items: value.map((item) => makeTree(item, at)), at };
  if (typeof value === "object" && value !== null) {
    const entries = Object.entries(value).map(([key, item]) => ({ key, keyAt: at, value: makeTree(item, at) }));
    return { kind: "map", entries, at };
  }
  const scalar = value as Plain;
  return { kind: "scalar", text: scalar === null ? "" : String(scalar), value: scalar, form: "given", at };
}

/** The value of `key` in a map, or undefined. */
export function findEntry(tree: Tree | null | undefined, key: string): Tree | undefined {
  return tree?.kind === "map" ? tree.entries.find((entry) => entry.key === key)?.value : undefined;
}

function broken(at: Place): ScalarTree {
  return { kind: "scalar", text: "", value: null, form: "given", at, broken: true };
}

/** Formats a rejected value for a message. */
export function describeTree(tree: Tree): string {
  if (tree.kind !== "scalar") return `invalid value (a ${tree.kind})`;
  return tree.value === null ? "missing value" : `invalid value "${shorten(tree.text)}"`;
}

export function shorten(text: string): string {
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}

class TreeBuilder {
  readonly problems: Problem[] = [];
  readonly #lines = new yaml.LineCounter();
  readonly #document: yaml.Document;
  readonly #file: string;
  readonly #text: string;
  readonly #env: Environment | null;
  #values = 0;
  #anchors: Anchors | null = null;
  /** Lists and maps in conversion, to detect cycles of aliases. */
  readonly #open = new Set<yaml.Node>();

  constructor(text: string, file: string, env: Environment | null) {
    this.#file = file;
    this.#text = text;
    this.#env = env;
    // Duplicate keys are detected here: the parser's check is quadratic and does not report the position of the first.
    this.#document = yaml.parseDocument(env === null ? text : shield(text), {
      lineCounter: this.#lines,
      prettyErrors: false,
      uniqueKeys: false,
    });
  }

  build(): Tree | null {
    this.#checkText();
    const seen = new Set<number>();
    let isFollowing = false;
    for (const { offset, message } of listSyntaxProblems(this.#document, this.#text)) {
      const at = this.#place(offset, "");
      if (this.#reportMalformed(at.line)) return null;
      // One mistake often causes many errors: only the first of a line is reported.
      if (!seen.has(at.line) && !(isFollowing && message.includes("unexpected"))) this.#report(at, message);
      seen.add(at.line);
      isFollowing = true;
    }
    if (this.problems.length > 0) return null;
    return this.#convert(this.#document.contents, "", 0, this.#place(0, ""));
  }

  /** Reports a malformed reference in the line of a syntax error, as its cause. */
  #reportMalformed(line: number): boolean {
    const start = this.#lines.lineStarts[line - 1] ?? 0;
    const end = this.#text.indexOf("\n", start);
    const found = this.#env && findMalformed(this.#text.slice(start, end < 0 ? this.#text.length : end));
    if (found) this.#report(this.#place(start + found.at, ""), found.message);
    return found !== null && found !== undefined;
  }

  /** Rejects what the parser accepts with another meaning than the text suggests. */
  #checkText(): void {
    if (this.#env === null) return;
    const top = this.#place(0, "");
    if (hasShields(this.#text)) this.#report(top, "a character from U+FDD0 to U+FDD4 is in the file, expected text");
    const { explicit, version } = this.#document.directives?.yaml ?? {};
    if (explicit === true && version !== "1.2")
      this.#report(top, `the file says %YAML ${version}, expected 1.2, or no such line`);
  }

  #convert(node: yaml.Node | null, path: string, depth: number, fallback: Place): Tree {
    const at = node?.range ? this.#place(node.range[0], path) : { ...fallback, path };
    if (++this.#values > MAX_VALUES || depth > MAX_DEPTH) {
      if (this.#values === MAX_VALUES + 1)
        this.#report(at, `more than ${MAX_VALUES} values, those of an alias counted each time: expected fewer`);
      else if (depth > MAX_DEPTH) this.#report(at, `values are nested more than ${MAX_DEPTH} deep`);
      this.#values = Number.POSITIVE_INFINITY;
      return broken(at);
    }
    if (node === null) return { kind: "scalar", text: "", value: null, form: "plain", at };
    if (yaml.isAlias(node)) return this.#convertAlias(node, path, depth, at);
    if (yaml.isScalar(node)) return this.#convertScalar(node, at);
    this.#open.add(node);
    try {
      if (yaml.isSeq<yaml.Node>(node)) {
        const items = node.items.map((item, i) => this.#convert(item, join(path, String(i)), depth + 1, at));
        return { kind: "list", items, at };
      }
      if (yaml.isMap<yaml.Node, yaml.Node | null>(node))
        return { kind: "map", entries: this.#convertEntries(node.items, path, depth, at), at };
    } finally {
      this.#open.delete(node);
    }
    throw new TypeError(`a YAML node of an unknown kind at ${at.line}:${at.column}`);
  }

  #convertAlias(alias: yaml.Alias, path: string, depth: number, at: Place): Tree {
    const name = alias.source;
    this.#anchors ??= listAnchors(this.#document);
    const target = this.#anchors.get(name)?.findLast((node) => node.range![0] < alias.range![0]);
    if (target === undefined && name.startsWith("."))
      this.#report(at, `unquoted, *${name} is an alias of YAML: write it in quotes, "*${name}"`);
    else if (target === undefined)
      this.#report(
        at,
        `unknown alias "*${name}", expected an anchor "&${name}" before it, or "*${name}" in quotes for the text`,
      );
    else if (this.#open.has(target)) this.#report(at, `the alias "*${name}" is within the value that it refers to`);
    else return this.#convert(target, path, depth + 1, at);
    return broken(at);
  }

  #convertEntries(
    pairs: readonly { key: yaml.Node; value: yaml.Node | null }[],
    path: string,
    depth: number,
    at: Place,
  ): Entry[] {
    const entries: Entry[] = [];
    const merged: Entry[] = [];
    const known = new Map<string, Place>();
    for (const { key: node, value } of pairs) {
      const keyAt = node?.range ? this.#place(node.range[0], path) : at;
      if (!yaml.isScalar(node)) {
        this.#report(keyAt, "a list or map as a key: expected a name");
        continue;
      }
      const key = this.#convertKey(node, keyAt);
      if (key === "<<" && node.type === yaml.Scalar.PLAIN) {
        merged.push(...this.#convertMerge(value, path, depth, keyAt));
        continue;
      }
      const placed = { ...keyAt, path: join(path, key) };
      const before = known.get(key);
      if (before) this.#report(placed, `duplicate key "${key}", first in line ${before.line}`);
      else {
        known.set(key, placed);
        entries.push({ key, keyAt: placed, value: this.#convert(value, placed.path, depth + 1, placed) });
      }
    }
    for (const entry of merged) {
      if (known.has(entry.key)) continue;
      known.set(entry.key, entry.keyAt);
      entries.push(entry);
    }
    return entries;
  }

  /** A key is its text, even if YAML reads it as a number. */
  #convertKey(node: yaml.Scalar, at: Place): string {
    const written = node.source ?? "";
    if (this.#env === null) return written;
    const key = unshield(written);
    if (/(?<!\$)\$\{/.test(key))
      this.#report(at, `variables are not expanded in keys: write the name itself, or $\${ for a literal \${`);
    return key.replaceAll("$${", "${");
  }

  /** The entries of a merge key `<<: *anchor`; in a list of maps, earlier ones take precedence. */
  #convertMerge(value: yaml.Node | null, path: string, depth: number, at: Place): Entry[] {
    const maps = yaml.isSeq<yaml.Node>(value) ? value.items : [value];
    return maps.flatMap((map) => {
      const tree = this.#convert(map, path, depth + 1, at);
      if (tree.kind === "map") return tree.entries;
      if (tree.kind === "scalar" && tree.broken) return [];
      this.#report(at, "the merge key << has no map as its value, expected an alias of one");
      return [];
    });
  }

  #convertScalar(node: yaml.Scalar, at: Place): ScalarTree {
    const isPlain = node.type === yaml.Scalar.PLAIN && node.tag === undefined;
    if (node.tag !== undefined && node.tag !== "tag:yaml.org,2002:str" && node.tag !== "!")
      this.#report(at, "tags are not supported: a value is read as its key requires");
    const written = node.source ?? "";
    if (this.#env === null) return { kind: "scalar", text: written, value: node.value as Plain, form: "given", at };
    const source = unshield(written);
    const { text, used } = this.#expand(source, this.#env, node, at);
    if (text === null) return { kind: "scalar", text: source, value: source, form: "quoted", at, broken: true };
    if (used) return { kind: "scalar", text, value: text, form: "variable", at };
    const isText = !isPlain || text !== source;
    return {
      kind: "scalar",
      text,
      value: isText ? text : (node.value as Plain),
      form: isText ? "quoted" : "plain",
      at,
    };
  }

  #expand(text: string, env: Environment, node: yaml.Scalar, at: Place): { text: string | null; used: boolean } {
    if (!text.includes("${")) return { text, used: false };
    try {
      return expandVariables(text, env);
    } catch (error) {
      if (!(error instanceof VariableError)) throw error;
      this.#report(this.#placeOfReference(text, error.at, node, at), error.message);
      return { text: null, used: false };
    }
  }

  /** Finds the n-th `${` of a scalar in the file: offsets in the decoded text differ by quotes, escapes and line breaks. */
  #placeOfReference(text: string, at: number, { range }: yaml.Scalar, otherwise: Place): Place {
    if (!range) return otherwise;
    let offset = range[0] - 1;
    for (let i = text.indexOf("${"); i >= 0 && i <= at; i = text.indexOf("${", i + 1))
      offset = this.#text.indexOf("${", offset + 1);
    return offset < range[0] || offset >= range[1] ? otherwise : this.#place(offset, otherwise.path);
  }

  #place(offset: number, path: string): Place {
    const { line, col } = this.#lines.linePos(offset);
    return { file: this.#file, line: Math.max(1, line), column: Math.max(1, col), path };
  }

  #report(at: Place, message: string): void {
    this.problems.push({ ...at, message });
  }
}

/** A number of the core schema of YAML 1.2, in decimal. */
export const DECIMAL = /^[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?$/;

export function join(path: string, key: string): string {
  return path === "" ? key : `${path}.${key}`;
}
