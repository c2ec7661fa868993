/** Checks a plugin's imports against its `allow`; a module that imports more is rejected. */

import { HOOK, type IMPORTS } from "../abi/abi.ts";
import type { PluginConfig, Problem } from "../config/schema.ts";

type Allow = PluginConfig["allow"];
type Permission = {
  /** Whether the configuration grants it. */
  readonly isGiven: (allow: Allow) => boolean;
  /** What to write under `allow`. */
  readonly add: string;
};

/** Permissions by import group. Groups without one are always allowed: they access only the current exchange and the log. */
const PERMISSIONS: { readonly [G in keyof typeof IMPORTS]: Permission | null } = {
  "sluice:core/1": null,
  "sluice:log/1": null,
  "sluice:balance/1": null,
  "sluice:crypto/1": null,
  "sluice:metrics/1": null,
  "sluice:kv/1": { isGiven: (allow) => allow.kv.length > 0, add: "kv: [NAME]" },
  "sluice:sleep/1": null,
  "sluice:fetch/1": { isGiven: (allow) => allow.fetch.length > 0, add: "fetch: [cluster:NAME]" },
  // It can only access the checked endpoint.
  "sluice:probe/1": null,
  "sluice:clock/1": { isGiven: (allow) => allow.clock === "precise", add: "clock: precise" },
};

/** The entry to add to `allow` for a group, or null. */
export function permissionFor(group: string): string | null {
  return findPermission(group)?.add ?? null;
}

/** One problem for each group that a module imports from and must not; `hooks` is the mask of those that it exports. */
export function checkPermissions(allow: Allow, groups: readonly string[], hooks = 0): Problem[] {
  return groups.flatMap((group) => {
    const permission = findPermission(group);
    if (permission === null || permission.isGiven(allow)) return [];
    const add = group === "sluice:fetch/1" && isChecker(hooks) ? "fetch: [endpoint]" : permission.add;
    return [{ ...allow.at, message: `imports ${group}, which is not allowed: add \`allow: { ${add} }\`` }];
  });
}

/** Health checks by plugins usually send a request to the endpoint that they check. */
function isChecker(hooks: number): boolean {
  return (hooks & (1 << HOOK.health_check)) !== 0;
}

function findPermission(group: string): Permission | null {
  return Object.hasOwn(PERMISSIONS, group) ? PERMISSIONS[group as keyof typeof PERMISSIONS] : null;
}
