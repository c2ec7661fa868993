/** Which plugin of a trace is the one under test. */
import { basename, dirname, extname, resolve } from "node:path";
import type { ReplayOptions } from "../../sdk/test.js";
import type { HookStep } from "../trace/trace.ts";
import type { TraceFile } from "./trace-file.ts";

type Meant = { readonly plugin: string; readonly use: number };

/** @throws TypeError naming those that the trace holds, where it is left open. */
export function findPlugin(
  { steps }: TraceFile,
  { hooks, path }: { readonly hooks: readonly string[]; readonly path: string },
  options: ReplayOptions,
): Meant {
  const calls = new Map<string, { step: number; call: HookStep }[]>();
  for (const [index, call] of steps.entries()) {
    if (call.step !== "hook") continue;
    const entry = { step: index + 1, call };
    const known = calls.get(call.plugin);
    if (known === undefined) calls.set(call.plugin, [entry]);
    else known.push(entry);
  }
  const plugin = options.plugin ?? guessPlugin(calls, { hooks, path });
  const own = calls.get(plugin);
  if (own === undefined)
    throw new TypeError(`the trace holds no call of ${plugin}, only of ${[...calls.keys()].join(", ") || "nobody"}`);
  return { plugin, use: findUse(plugin, own, options.use) };
}

/** The one of this file's or directory's name, or the only one that can be meant. */
function guessPlugin(
  calls: ReadonlyMap<string, readonly { call: HookStep }[]>,
  { hooks, path }: { readonly hooks: readonly string[]; readonly path: string },
): string {
  const file = resolve(path);
  const held = [...calls.keys()];
  for (const name of [basename(file, extname(file)), basename(dirname(file))]) if (held.includes(name)) return name;
  if (held.length === 0) throw new TypeError("the trace holds no call of a plugin");
  const able = held.filter((name) => calls.get(name)!.some(({ call }) => hooks.includes(call.hook)));
  const [only] = held.length === 1 ? held : able;
  if (only !== undefined && (held.length === 1 || able.length === 1)) return only;
  throw new TypeError(`the trace holds calls of ${held.join(", ")}: say by the option plugin which of them this is`);
}

function findUse(plugin: string, calls: readonly { step: number; call: HookStep }[], wanted?: number): number {
  const uses = new Map<number, number[]>();
  for (const { step, call } of calls) uses.set(call.use ?? 1, [...(uses.get(call.use ?? 1) ?? []), step]);
  const [first = 1] = uses.keys();
  if (wanted === undefined ? uses.size === 1 : uses.has(wanted)) return wanted ?? first;
  const told = Array.from(uses, ([use, steps]) => `${use}: steps ${steps.join(", ")}`).join("; ");
  throw new TypeError(
    `the trace holds calls of ${plugin} with ${uses.size} configurations (${told}): say by the option use which`,
  );
}
