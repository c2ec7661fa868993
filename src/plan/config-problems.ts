/** Locates a problem that a plugin reports with its configuration. */
import type { Place, Problem, Settings } from "../config/schema.ts";
import type { Origin } from "./instances.ts";

type Tree = Settings["tree"];

/** A stack frame without a source line. */
const RAW_FRAME = /\n\s*at [^\n]*\+0x[0-9a-f]+(?=\n|$)/g;

/** A stack frame at the position that ends the message. */
const REPEATED_FRAME = /(\([^()\n]+:\d+:\d+\))\n\s*at [^\n]*\1(?=\n|$)/;

/** A name that the host does not know (`sdk/cluster.ts`). */
const UNKNOWN_NAME = /: (?:cluster|strategy) "([^"\n]*)": /;

/**
 * Returns the problem with its position. A message of the SDK, `config rules.0.limit: expected …` (`sdk/config.ts`), is
 * located at that key or its deepest existing parent, and one about a cluster or strategy at the value that names it; any
 * other where the plugin is used.
 */
export function locateConfigProblem(message: string, { at, settings }: Origin): Problem {
  if (settings === undefined) return { ...at, message };
  const found = / config ([^\n]*)/.exec(message);
  if (found === null) {
    const name = UNKNOWN_NAME.exec(message)?.[1];
    return { ...((name !== undefined && placeOfValue(settings.tree, name)) || at), message };
  }
  const [, text = ""] = found;
  let best = settings.tree.at;
  // A key may contain a colon: the first path that exists is used.
  for (let end = text.indexOf(": "); end >= 0; end = text.indexOf(": ", end + 1)) {
    const { place, isWhole } = locate(settings.tree, text.slice(0, end));
    if (isWhole || best === settings.tree.at) best = place;
    if (isWhole) break;
  }
  return { ...best, message: message.replaceAll(RAW_FRAME, "").replace(REPEATED_FRAME, "$1") };
}

/** The position of the first scalar with this value. */
function placeOfValue(tree: Tree, value: string): Place | undefined {
  if (tree.kind === "scalar") return tree.text === value ? tree.at : undefined;
  const inner = tree.kind === "list" ? tree.items : tree.entries.map((entry) => entry.value);
  for (const one of inner) {
    const found = placeOfValue(one, value);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** The position of a path, as `config_get` resolves it; otherwise of its deepest existing parent. */
function locate(tree: Tree, path: string): { place: Place; isWhole: boolean } {
  const root = { place: tree.at, isWhole: path === "" };
  if (tree.kind === "scalar" || path === "") return root;
  let deepest = root;
  for (const { key, at } of listEnds(path)) {
    const inner = tree.kind === "list" ? tree.items[Number(key)] : findValue(tree, key);
    if (inner === undefined) continue;
    const found = locate(inner, path.slice(at + 1));
    if (found.isWhole) return found;
    if (deepest === root) deepest = found;
  }
  return deepest;
}

function findValue(tree: Tree & { kind: "map" }, key: string): Tree | undefined {
  return tree.entries.find((entry) => entry.key === key)?.value;
}

/** The keys that a path can start with, shortest first, and the end of each. */
function* listEnds(path: string): Iterable<{ key: string; at: number }> {
  for (const { index } of [...path.matchAll(/(?<!\\)(?:\\\\)*\./g), { index: path.length }]) {
    const at = index === path.length ? index : path.indexOf(".", index);
    yield { key: path.slice(0, at).replace(/\\([.\\])/g, "$1"), at };
  }
}
