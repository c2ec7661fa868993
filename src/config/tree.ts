/**
 * YAML text → a tree of plain values that know where they stand. Aliases, merge keys and `${VARIABLES}` are resolved
 * here, so that nothing after this knows YAML.
 */
import { type Document, isAlias, isMap, isScalar, isSeq, LineCounter, type Node, parseDocument, Scalar } from "yaml";
import type { Place, Problem } from "./place.ts";

export type Tree = ScalarTree | ListTree | MapTree;
export type ScalarTree = {
  readonly kind: "scalar";
  /** As written, quotes and escapes taken off, variables put in. */
  readonly text: string;
  readonly value: string | number | boolean | null;
  readonly at: Place;
  /** It has no value for a reason that is reported already: nothing more is to be said of it. */
  readonly broken?: true;
};
export type ListTree = { readonly kind: "list"; readonly items: readonly Tree[]; readonly at: Place };
export type MapTree = { readonly kind: "map"; readonly entries: readonly Entry[]; readonly at: Place };
export type Entry = { readonly key: string; readonly keyAt: Place; readonly value: Tree };

export type Environment = Readonly<Record<string, string | undefined>>;

/** A few lines of aliases can stand for billions of values ("billion laughs"): what they make is bounded. */
const MAX_VALUES = 100_000;
const MAX_DEPTH = 100;

/** Reads YAML. An empty file is an empty map. On a syntax error the tree is null. Without `env`, `${` is only text. */
export function parseTree(
  text: string,
  options: { file: string; env: Environment | null },
): { tree: Tree | null; problems: Problem[] } {
  const builder = new TreeBuilder(text, options.file, options.env);
  const tree = builder.build();
  return { tree, problems: builder.problems };
}

/** A tree of a plain value, all of it standing at one place. */
export function makeTree(value: unknown, at: Place): Tree {
  if (Array.isArray(value)) return { kind: "list", items: value.map((item) => makeTree(item, at)), at };
  if (typeof value === "object" && value !== null) {
    const entries = Object.entries(value).map(([key, item]) => ({ key, keyAt: at, value: makeTree(item, at) }));
    return { kind: "map", entries, at };
  }
  const scalar = value as string | number | boolean | null;
  return { kind: "scalar", text: scalar === null ? "" : String(scalar), value: scalar, at };
}

/** The value under `key` of a map, or undefined. */
export function findEntry(tree: Tree | null | undefined, key: string): Tree | undefined {
  return tree?.kind === "map" ? tree.entries.find((entry) => entry.key === key)?.value : undefined;
}

/** What stands there, in words. */
export function describeTree(tree: Tree): string {
  if (tree.kind !== "scalar") return `a ${tree.kind} stands here`;
  return tree.value === null ? "there is no value" : `"${shorten(tree.text)}" stands here`;
}

export function shorten(text: string): string {
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}

class TreeBuilder {
  readonly problems: Problem[] = [];
  readonly #lines = new LineCounter();
  readonly #document: Document;
  readonly #file: string;
  readonly #env: Environment | null;
  #values = 0;

  constructor(text: string, file: string, env: Environment | null) {
    this.#file = file;
    this.#env = env;
    // Keys are compared here and not by the parser, whose check is quadratic and knows no place for the first one.
    this.#document = parseDocument(env === null ? text : shield(text), {
      lineCounter: this.#lines,
      prettyErrors: false,
      uniqueKeys: false,
    });
  }

  build(): Tree | null {
    const seen = new Set<number>();
    for (const error of [...this.#document.errors, ...this.#document.warnings]) {
      const at = this.#place(error.pos[0], "");
      // One slip often makes a dozen errors: the first of a line tells, and what follows from it is left out.
      if (seen.has(at.line) || (seen.size > 0 && error.code === "UNEXPECTED_TOKEN")) continue;
      seen.add(at.line);
      this.#report(at, `not valid YAML: ${error.message.charAt(0).toLowerCase()}${error.message.slice(1)}`);
    }
    if (this.problems.length > 0) return null;
    return this.#convert(this.#document.contents, "", 0, this.#place(0, ""));
  }

  #convert(node: Node | null, path: string, depth: number, fallback: Place): Tree {
    const at = node?.range ? this.#place(node.range[0], path) : { ...fallback, path };
    if (++this.#values > MAX_VALUES || depth > MAX_DEPTH) {
      const first = this.#values === MAX_VALUES + 1 || depth > MAX_DEPTH;
      if (first)
        this.#report(at, `too many or too deeply nested values, expected at most ${MAX_VALUES} and ${MAX_DEPTH}`);
      this.#values = Number.POSITIVE_INFINITY;
      return { kind: "scalar", text: "", value: null, at, broken: true };
    }
    if (node === null) return { kind: "scalar", text: "", value: null, at };
    if (isAlias(node)) {
      const target = node.resolve(this.#document);
      if (target) return this.#convert(target, path, depth + 1, at);
      this.#report(at, `unknown alias "*${node.source}", expected an anchor "&${node.source}" before it`);
      return { kind: "scalar", text: "", value: null, at, broken: true };
    }
    if (isSeq<Node>(node)) {
      const items = node.items.map((item, i) => this.#convert(item, join(path, String(i)), depth + 1, at));
      return { kind: "list", items, at };
    }
    if (isMap<Node, Node | null>(node))
      return { kind: "map", entries: this.#convertEntries(node.items, path, depth, at), at };
    if (isScalar(node)) return this.#convertScalar(node, at);
    throw new TypeError(`a YAML node of an unknown kind at ${at.line}:${at.column}`);
  }

  #convertEntries(
    pairs: readonly { key: Node; value: Node | null }[],
    path: string,
    depth: number,
    at: Place,
  ): Entry[] {
    const entries: Entry[] = [];
    const merged: Entry[] = [];
    const known = new Map<string, Place>();
    for (const { key: node, value } of pairs) {
      const keyAt = node?.range ? this.#place(node.range[0], path) : at;
      if (!isScalar(node)) {
        this.#report(keyAt, "a list or map stands as a key, expected a name");
        continue;
      }
      const key = unshield(String(node.source ?? node.value));
      if (key === "<<" && node.type === Scalar.PLAIN) {
        merged.push(...this.#convertMerge(value, path, depth, keyAt));
        continue;
      }
      const placed = { ...keyAt, path: join(path, key) };
      const before = known.get(key);
      if (before) this.#report(placed, `the key "${key}" stands here a second time, first in line ${before.line}`);
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

  /** The entries that `<<: *anchor` brings; of a list of maps, the earlier ones win. */
  #convertMerge(value: Node | null, path: string, depth: number, at: Place): Entry[] {
    const maps = isSeq<Node>(value) ? value.items : [value];
    return maps.flatMap((map) => {
      const tree = this.#convert(map, path, depth + 1, at);
      if (tree.kind === "map") return tree.entries;
      this.#report(at, "the merge key << has no map as its value, expected an alias of one");
      return [];
    });
  }

  #convertScalar(node: Scalar, at: Place): ScalarTree {
    const plain = node.type === Scalar.PLAIN;
    const written = unshield(plain ? (node.source ?? "") : String(node.value));
    if (this.#env === null || !written.includes("${")) {
      return { kind: "scalar", text: written, value: node.value as ScalarTree["value"], at };
    }
    const before = this.problems.length;
    const text = this.#expand(written, this.#env, at);
    if (this.problems.length > before) return { kind: "scalar", text, value: text, at, broken: true };
    return { kind: "scalar", text, value: plain ? resolvePlain(text) : text, at };
  }

  #expand(text: string, env: Environment, at: Place): string {
    return text.replace(/\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}|\$\{/g, (found, name, otherwise) => {
      if (found === "$${") return "${";
      if (name === undefined) {
        this.#report(
          at,
          `"\${" without a variable's name and "}" after it, expected \${NAME}, \${NAME:-default}, or $\${ for itself`,
        );
        return "";
      }
      const value = env[name];
      if (otherwise !== undefined) return value === undefined || value === "" ? otherwise : value;
      if (value === undefined) {
        this.#report(
          at,
          `the environment variable ${name} is not set, expected it or a default, as in \${${name}:-value}`,
        );
      }
      return value ?? "";
    });
  }

  #place(offset: number, path: string): Place {
    const { line, col } = this.#lines.linePos(offset);
    return { file: this.#file, line: Math.max(1, line), column: Math.max(1, col), path };
  }

  #report(at: Place, message: string): void {
    this.problems.push({ ...at, message });
  }
}

/**
 * `{ port: ${PORT} }` is not YAML: a brace ends an unquoted word there. So in each `${…}` the characters that end one
 * are swapped for others, one for one, before YAML is parsed, and swapped back in each word.
 */
const ENDERS = "{}[],";
const SHIELDS = "\u{fdd0}\u{fdd1}\u{fdd2}\u{fdd3}\u{fdd4}";

function shield(text: string): string {
  return text.replace(/\$\{[^{}\n]*\}/g, (found) =>
    found.replace(/[{}[\],]/g, (one) => SHIELDS.charAt(ENDERS.indexOf(one))),
  );
}

function unshield(text: string): string {
  return text.replace(/[\u{fdd0}-\u{fdd4}]/gu, (one) => ENDERS.charAt(SHIELDS.indexOf(one)));
}

/** What an unquoted scalar means after its variables were put in (the core schema of YAML 1.2). */
function resolvePlain(text: string): ScalarTree["value"] {
  if (/^(|~|null|Null|NULL)$/.test(text)) return null;
  if (/^(true|True|TRUE)$/.test(text)) return true;
  if (/^(false|False|FALSE)$/.test(text)) return false;
  if (/^[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?$/.test(text)) return Number(text);
  return text;
}

export function join(path: string, key: string): string {
  return path === "" ? key : `${path}.${key}`;
}
