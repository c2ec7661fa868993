/** Warns of plugin limits that are inconsistent: only requests with long bodies would fail. */

import { FUEL, HOOK } from "../abi/abi.ts";
import { mostSeen } from "../abi/prices.ts";
import type { PluginConfig, Problem } from "../config/schema.ts";
import type { Plugin } from "./modules.ts";

const MEBIBYTE = 1024 * 1024;
const BODIES = (1 << HOOK.request_body) | (1 << HOOK.response_body);

/** Warnings for plugins with body hooks. */
export function findTightLimits(plugins: Iterable<Pick<Plugin, "module" | "declared">>): Problem[] {
  return [...plugins].flatMap(({ module, declared }) =>
    declared === null || (module.info.hooks & BODIES) === 0 ? [] : tightLimitsOf(declared),
  );
}

function tightLimitsOf({ limits: { body, memory, fuel }, at }: PluginConfig): Problem[] {
  const problems: Problem[] = [];
  const warn = (message: string) => problems.push({ ...at, message });
  // The body as read, its replacement, and the plugin's other memory.
  const need = 2 * body + MEBIBYTE;
  if (body > 0 && memory < need)
    warn(
      `a body of ${inMebibytes(body)} (limits.body) and what replaces it need ${inMebibytes(need)}, which is over limits.memory (${inMebibytes(memory)})`,
    );
  const seen = mostSeen(fuel);
  if (body > seen)
    warn(
      `fuel grows up to ${inMebibytes(seen)} of a body (${FUEL.perByte} units a byte, limits.fuel: ${fuel}), which is less than limits.body (${inMebibytes(body)})`,
    );
  return problems;
}

/** Formats a size in the unit of the configuration. */
function inMebibytes(bytes: number): string {
  return `${Math.round((bytes / MEBIBYTE) * 10) / 10}MiB`;
}
