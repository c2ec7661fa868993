/** Starts a guest: instantiates the module, runs its start-up code, and `configure` for each configuration. */
import { HOOK, RESULT } from "../../abi/abi.ts";
import { fuelToStart } from "../../abi/prices.ts";
import { STARTING } from "../abi/hook-scope.ts";
import type { ModulePlan } from "../wasm/build.ts";
import { configBytes } from "./bytes-seen.ts";
import type { PluginConfiguration } from "./configuration.ts";
import { Fault } from "./fault.ts";
import { Guest, type GuestFailure } from "./guest.ts";
import type { After } from "./timer.ts";

/** `wall`: milliseconds since 1970, for guests; `monotonic`: a monotonic clock; `after`: timers of suspended calls. */
export type Clocks = { readonly wall: () => number; readonly monotonic: () => number; readonly after: After };

/** A guest could not be started; `hook`: `configure` or STARTING, `plugin`: the plugin of the configuration. */
export class GuestStartError extends Error {
  override readonly name = "GuestStartError";
  readonly hook: number;
  readonly failure: GuestFailure;
  readonly plugin: string;

  constructor(plugin: string, hook: number, failure: GuestFailure) {
    super(failure.message);
    this.plugin = plugin;
    this.hook = hook;
    this.failure = failure;
  }
}

/** `members`: the configurations that the guest serves; `memory`: of a failed guest, cleared. @throws GuestStartError */
export function startGuest(
  module: ModulePlan,
  members: readonly PluginConfiguration[],
  clocks: Clocks,
  memory?: WebAssembly.Memory,
): Guest {
  let [member] = members as [PluginConfiguration];
  let hook = STARTING;
  let guest: Guest;
  try {
    guest = new Guest(module, clocks.wall, clocks.after, memory);
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    throw new GuestStartError(member.plugin, hook, { reason: "start", message, stack: "" });
  }
  try {
    guest.start(module.info.servesMany ? null : member);
    hook = HOOK.configure;
    if ((module.info.hooks & (1 << hook)) !== 0) for (member of members) configure(guest, member);
    return guest;
  } catch (error) {
    throw new GuestStartError(member.plugin, hook, { ...guest.explain(error), stack: guest.stackOf(error) });
  } finally {
    guest.context.end();
  }
}

function configure(guest: Guest, member: PluginConfiguration): void {
  const seen = configBytes(member.config);
  const result = guest.run(HOOK.configure, member.id, fuelToStart(seen), member, null, null, seen);
  if (result === RESULT.reject) throw new Fault("start", "the plugin rejects its configuration");
  if (result !== RESULT.continue)
    throw new Fault("bad_result", `configure returned ${result}, expected ${RESULT.continue} or ${RESULT.reject}`);
}
