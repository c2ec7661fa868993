/**
 * Entry point of the compiler process, which stays alive between builds. The compiler blocks its thread and uses 450
 * MiB, so it must not run in a process that serves traffic. The parent sends build jobs and receives reports.
 */
import { type Compiled, compile, formatProblem, type Runtime, writeModule } from "./compile.ts";

/** `wasm`: output path; null to compile only for warming up. */
export type BuildJob = { readonly source: string; readonly wasm: string | null; readonly runtime?: Runtime };
export type BuildReport = {
  readonly source: string;
  readonly problems: readonly string[];
  readonly took: number;
  /** Source files of the plugin. */
  readonly files: readonly string[];
  /** Resident memory of the process in bytes. */
  readonly memory: number;
};

async function build({ source, wasm, runtime }: BuildJob): Promise<BuildReport> {
  const began = performance.now();
  const problems: string[] = [];
  let files: readonly string[] = [];
  try {
    const compiled: Compiled = await compile(source, { out: wasm ?? undefined, runtime, isWarm: true });
    files = compiled.files;
    if (compiled.problems) problems.push(...compiled.problems.map(formatProblem));
    else if (wasm !== null) await writeModule(compiled, wasm);
  } catch (error) {
    problems.push(`${source}: ${error instanceof Error ? error.message : String(error)}`);
  }
  return { source, problems, took: performance.now() - began, files, memory: process.memoryUsage.rss() };
}

// Sequential: the compiler has global state.
let last: Promise<unknown> = Promise.resolve();
process.on("message", (job: BuildJob) => {
  last = last.then(async () => {
    const report = await build(job);
    process.send?.(report);
  });
});
process.on("disconnect", () => process.exit());
