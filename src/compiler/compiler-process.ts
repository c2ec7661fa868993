/**
 * The compiler in a process of its own, kept warm: it blocks its thread for a while and holds 450 MiB, so it never runs
 * where traffic is served. Its parent sends a source, and gets back what was built or what is wrong.
 */
import { type Compiled, compile, formatProblem, type Runtime, writeModule } from "./compile.ts";

/** Without a module to write the source is compiled for the warmth alone. */
export type BuildOrder = { readonly source: string; readonly wasm: string | null; readonly runtime?: Runtime };
export type BuildReport = {
  readonly source: string;
  readonly problems: readonly string[];
  readonly took: number;
  /** The author's files that the module is made of. */
  readonly files: readonly string[];
  /** Bytes that this process holds. */
  readonly memory: number;
};

async function build({ source, wasm, runtime }: BuildOrder): Promise<BuildReport> {
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

// One at a time: the compiler keeps state between its phases.
let last: Promise<unknown> = Promise.resolve();
process.on("message", (order: BuildOrder) => {
  last = last.then(async () => {
    const report = await build(order);
    process.send?.(report);
  });
});
process.on("disconnect", () => process.exit());
