/**
 * Runs commands of the command line one after the other in one process: loading the program takes a quarter of a second
 * of processor time, which tests of many configurations would pay for each. Only for commands that end.
 *
 * Run as a program it takes the arguments of a command as a message, and sends what the command has returned and written.
 */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";

export type Ended = { readonly code: number; readonly stdout: string; readonly stderr: string };

export class Commands {
  readonly #child: ChildProcess;

  /** `cwd`: their working directory. */
  constructor(cwd?: string) {
    this.#child = fork(import.meta.filename, { cwd, stdio: ["ignore", "inherit", "inherit", "ipc"] });
  }

  async run(...args: string[]): Promise<Ended> {
    this.#child.send(args);
    const [ended] = await once(this.#child, "message", { signal: AbortSignal.timeout(60_000) });
    return ended;
  }

  close(): void {
    this.#child.disconnect();
  }
}

async function runHere(args: readonly string[]): Promise<Ended> {
  const { cli } = await import("../../src/cli/cli.ts");
  const written = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"] as const)
    process[name].write = (text: string | Uint8Array) => {
      written[name] += text;
      return true;
    };
  return { code: await cli(args), ...written };
}

if (import.meta.main) {
  // Each command adds a listener.
  process.stdout.setMaxListeners(0);
  process.on("message", async (args: string[]) => process.send!(await runHere(args)));
}
