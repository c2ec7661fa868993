/** Finds the plugin under test in a trace. */
import { basename, dirname, extname, resolve } from "node:path";
import type { ReplayOptions } from "../../sdk/test.js";
import type { HookStep, TraceRecord } from "../trace/record.ts";

type Found = { readonly plugin: string; readonly use: number };

/** @throws TypeError listing the plugins in the trace if several could be meant. */
export function findPlugin(
  { steps }: TraceRecord,
  { hooks, path }: { readonly hooks: readonly string[]; readonly path: string },
  options: ReplayOptions,
): Found {
  const calls = new Map<string, { step: number; call: HookStep }[]>();
  for (const [index, call] of steps.entries()) {
    if (call.step !== "hook") continue;
    calls.getOrInsert(call.plugin, []).push({ step: index + 1, call });
  }
  const plugin = options.plugin ?? guessPlugin(calls, { hooks, path });
  const own = calls.get(plugin);
  if (own === undefined)
    throw new TypeError(`the trace has no call of ${plugin}, only of ${[...calls.keys()].join(", ") || "no plugin"}`);
  return { plugin, use: findUse(plugin, own, options.use) };
}

/** The plugin named like the file or its directory, or else the only one whose hooks fit. */
function guessPlugin(
  calls: ReadonlyMap<string, readonly { call: HookStep }[]>,
  { hooks, path }: { readonly hooks: readonly string[]; readonly path: string },
): string {
  const file = resolve(path);
  const names = [...calls.keys()];
  for (const name of [basename(file, extname(file)), basename(dirname(file))]) if (names.includes(name)) return name;
  if (names.length === 0) throw new TypeError("the trace has no call of a plugin");
  const able = names.filter((name) => calls.get(name)!.some(({ call }) => hooks.includes(call.hook)));
  const [only] = names.length === 1 ? names : able;
  if (only !== undefined && (names.length === 1 || able.length === 1)) return only;
  throw new TypeError(`the trace has calls of ${names.join(", ")}: set the option plugin to one of them`);
}

function findUse(plugin: string, calls: readonly { step: number; call: HookStep }[], wanted?: number): number {
  const uses = new Map<number, number[]>();
  for (const { step, call } of calls) uses.set(call.use ?? 1, [...(uses.get(call.use ?? 1) ?? []), step]);
  const [first = 1] = uses.keys();
  if (wanted === undefined ? uses.size === 1 : uses.has(wanted)) return wanted ?? first;
  const found = Array.from(uses, ([use, steps]) => `${use}: steps ${steps.join(", ")}`).join("; ");
  throw new TypeError(
    `the trace has calls of ${plugin} with ${uses.size} configurations (${found}): set the option use to one of them`,
  );
}
