/**
 * One warm compiler for all test files of a run (`scripts/test.ts`). Loading the compiler takes a second of processor
 * time and compiling the first plugin another; dozens of files would each pay both.
 *
 * Run as a program it is the server: it listens on the Unix socket named by SLUICE_TEST_COMPILER, prints a line when it
 * is ready, and ends with its standard input. A connection carries one job and one report, as JSON.
 */
import { connect, createServer } from "node:net";
import { text } from "node:stream/consumers";
import type { BuildJob, BuildReport } from "../../src/compiler/compiler-process.ts";
import { WarmCompiler } from "../../src/compiler/warm-compiler.ts";

/** The socket of the run's compiler; undefined when a test file runs by itself. */
export const compilerSocket = process.env.SLUICE_TEST_COMPILER;

/** Compiles a source on the server at `path`; mistakes in the source are in the report. */
export async function buildAt(path: string, job: BuildJob): Promise<BuildReport> {
  const socket = connect(path);
  socket.end(JSON.stringify(job));
  return JSON.parse(await text(socket));
}

if (import.meta.main) {
  const compiler = new WarmCompiler();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    let job = "";
    socket.on("data", (chunk) => (job += chunk));
    socket.on("end", async () => socket.end(JSON.stringify(await compiler.build(JSON.parse(job)))));
  });
  server.listen(compilerSocket, () => console.log("ready"));
  process.stdin.resume().on("end", () => process.exit());
}
