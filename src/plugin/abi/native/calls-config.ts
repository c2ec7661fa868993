/** `sluice:core/1`: host calls that read the configuration by path, so that guests need no parser. */

import { LIMIT, STATUS } from "../../../abi/abi.ts";
import { WORK } from "../../../abi/prices.ts";
import type { CallContext } from "../call-context.ts";

/** Results of `config_kind`. */
export const CONFIG_KIND = { absent: 0, null: 1, boolean: 2, number: 3, string: 4, list: 5, map: 6 } as const;

export function makeConfigCalls(context: CallContext) {
  const { memory } = context;
  const pay = (bytes: number): void => context.spend(WORK.configKey + WORK.configByte * bytes);
  /** Begins a call and returns the node at a path; undefined if there is none. */
  const find = (call: string, path: number, length: number): unknown => {
    context.enter(call, length >>> 0);
    memory.check(path, length);
    if (context.configuration === null || length >>> 0 > LIMIT.configPath) return undefined;
    return resolvePath(context.configuration.config, memory.takeUtf8(path, length), pay);
  };
  /** The last map and its keys: iterating over a map lists its keys once. */
  let map: object | null = null;
  let keys: readonly string[] = [];
  const keysOf = (node: object): readonly string[] => {
    if (node === map) return keys;
    map = node;
    keys = Object.keys(node);
    context.spend(WORK.configEntry * keys.length);
    return keys;
  };
  const missing = () => (context.configuration === null ? STATUS.notHere : STATUS.absent);

  return {
    config_get(path: number, length: number, out: number, cap: number): number {
      const node = find("config_get", path, length);
      memory.check(out, cap);
      if (node === undefined || node === null || typeof node === "object") return context.leave(missing());
      const text = Buffer.from(String(node), "utf8");
      context.spend(text.length);
      return context.leave(memory.give(text, 0, text.length, out, cap));
    },

    config_kind(path: number, length: number): number {
      return context.leave(kindOf(find("config_kind", path, length)));
    },

    config_count(path: number, length: number): number {
      const node = find("config_count", path, length);
      if (typeof node !== "object" || node === null) return context.leave(missing());
      return context.leave(Array.isArray(node) ? node.length : keysOf(node).length);
    },

    config_key(path: number, length: number, index: number, out: number, cap: number): number {
      const node = find("config_key", path, length);
      memory.check(out, cap);
      if (typeof node !== "object" || node === null || Array.isArray(node)) return context.leave(missing());
      const key = keysOf(node)[index >>> 0];
      return context.leave(key === undefined ? STATUS.absent : memory.giveUtf8(key, out, cap));
    },
  };
}

function kindOf(node: unknown): number {
  if (node === undefined) return CONFIG_KIND.absent;
  if (node === null) return CONFIG_KIND.null;
  if (Array.isArray(node)) return CONFIG_KIND.list;
  switch (typeof node) {
    case "boolean":
      return CONFIG_KIND.boolean;
    case "number":
    case "bigint":
      return CONFIG_KIND.number;
    case "object":
      return CONFIG_KIND.map;
    default:
      return CONFIG_KIND.string;
  }
}

/**
 * Returns the value at a path such as `rules.0.name`, or undefined. `\.` is a dot within a key, `\\` a backslash before a
 * dot or a backslash, so that every entry has a path. A key with unescaped dots is found too, if shorter keys lead to
 * nothing; so one path can need many lookups, and `pay` is called for each with the length of its key.
 */
export function resolvePath(node: unknown, path: string, pay: (bytes: number) => void): unknown {
  if (path === "") return node;
  if (typeof node !== "object" || node === null) return undefined;
  for (let end = findKeyEnd(path, 0); end >= 0; end = end < path.length ? findKeyEnd(path, end + 1) : -1) {
    pay(end);
    const key = path.slice(0, end).replace(/\\([.\\])/g, "$1");
    if (!Object.hasOwn(node, key) || (Array.isArray(node) && key === "length")) continue;
    const value = (node as Record<string, unknown>)[key];
    if (end === path.length) return value;
    const found = resolvePath(value, path.slice(end + 1), pay);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** Returns the end of a key that extends at least to `from`: the next unescaped dot, or the end of the path. */
function findKeyEnd(path: string, from: number): number {
  for (let at = from; at < path.length; at++) {
    if (path[at] === ".") return at;
    if (path[at] === "\\" && (path[at + 1] === "." || path[at + 1] === "\\")) at++;
  }
  return path.length;
}
