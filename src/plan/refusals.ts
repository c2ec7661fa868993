/** Locates a plugin's configuration error in the file. */
import type { Place, Problem, Settings } from "../config/schema.ts";
import type { Origin } from "./builder.ts";

type Tree = Settings["tree"];

/** A frame without a source line: of no use to the author of a configuration. */
const RAW_FRAME = /\n\s*at [^\n]*\+0x[0-9a-f]+(?=\n|$)/g;

/** A frame at the place that the message ends with. */
const REPEATED_FRAME = /(\([^()\n]+:\d+:\d+\))\n\s*at [^\n]*\1(?=\n|$)/;

/**
 * The SDK says `config rules.0.limit: expected …` (`sdk/config.ts`): such a failure stands at that key, or where it is
 * missing; any other where the plugin is used.
 */
export function placeRefusal(message: string, { at, settings }: Origin): Problem {
  const found = / config ([^\n]*)/.exec(message);
  if (found === null || settings === undefined) return { ...at, message };
  const [, said = ""] = found;
  let best = settings.tree.at;
  // A key may contain a colon: the first path that exists is used.
  for (let end = said.indexOf(": "); end >= 0; end = said.indexOf(": ", end + 1)) {
    const { place, isWhole } = locate(settings.tree, said.slice(0, end));
    if (isWhole || best === settings.tree.at) best = place;
    if (isWhole) break;
  }
  return { ...best, message: message.replaceAll(RAW_FRAME, "").replace(REPEATED_FRAME, "$1") };
}

/** The position of a path, as `config_get` resolves it; otherwise of its deepest existing parent. */
function locate(tree: Tree, path: string): { place: Place; isWhole: boolean } {
  const nowhere = { place: tree.at, isWhole: path === "" };
  if (tree.kind === "scalar" || path === "") return nowhere;
  let deepest = nowhere;
  for (const { key, at } of listEnds(path)) {
    const inner = tree.kind === "list" ? tree.items[Number(key)] : findValue(tree, key);
    if (inner === undefined) continue;
    const found = locate(inner, path.slice(at + 1));
    if (found.isWhole) return found;
    if (deepest === nowhere) deepest = found;
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
