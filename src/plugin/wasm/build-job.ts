/** Messages between the proxy and the build process (`builder.ts`, `build-process.ts`). */
import type { BuildPlace, CheckedModule } from "./build.ts";

/** Limits per module: bytes in addition to the idle process, milliseconds of processor time and of elapsed time. */
export type BuildLimits = { readonly memory: number; readonly time: number; readonly elapsed: number };

/** Four times the memory and ten times the time that the largest real modules need. */
export const BUILD_LIMITS: BuildLimits = { memory: 1024 * 1024 * 1024, time: 20_000, elapsed: 120_000 };

export type BuildJob = BuildPlace & { readonly bytes: Uint8Array; readonly limits: BuildLimits };
export type BuildReply =
  | { readonly checked: CheckedModule; readonly problem: null }
  /** `hook`: as in `PluginError`. `ends`: the process ends after this reply. */
  | { readonly checked: null; readonly problem: string; readonly hook: string; readonly ends: boolean };
