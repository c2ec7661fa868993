/** What the proxy and the process that builds its modules tell each other (`builder.ts`, `build-process.ts`). */
import type { BuildPlace, CheckedModule } from "./build.ts";

/** For one module: bytes beside what the process takes anyway, milliseconds of processor time, and of all time. */
export type BuildLimits = { readonly memory: number; readonly time: number; readonly wait: number };

/** The largest real modules need a quarter of the memory and a tenth of the time. */
export const BUILD_LIMITS: BuildLimits = { memory: 1024 * 1024 * 1024, time: 20_000, wait: 120_000 };

export type BuildJob = BuildPlace & { readonly bytes: Uint8Array; readonly limits: BuildLimits };
export type BuildReply =
  | { readonly checked: CheckedModule; readonly problem: null }
  /** `ends`: the process does so, too. */
  | { readonly checked: null; readonly problem: string; readonly ends: boolean };
