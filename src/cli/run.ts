import { parseArgs } from "node:util";
import { type App, StartError, startApp } from "../control/app.ts";
import { LOG_LEVELS } from "../observe/log.ts";
import { UsageError } from "./usage.ts";

/** `sluice run`: runs the proxy until SIGTERM or SIGINT. */
export async function run(args: string[]): Promise<number> {
  const options = parseOptions(args);
  const stopped = untilSignal();
  let app: App;
  try {
    app = await startApp(options);
  } catch (error) {
    if (!(error instanceof StartError)) throw error;
    for (const line of error.problems) process.stderr.write(`${line}\n`);
    return 1;
  }
  await serve(app, stopped);
  return 0;
}

/** Whether SIGHUP was received while the program started. */
let isReloadDue = false;

function remember(): void {
  isReloadDue = true;
}

/** Resolves at the first SIGTERM or SIGINT; a second one exits at once. SIGHUP is remembered for `serve`. */
export function untilSignal(): Promise<NodeJS.Signals> {
  const { promise, resolve } = Promise.withResolvers<NodeJS.Signals>();
  let stopped = false;
  const stop = (signal: NodeJS.Signals): void => {
    if (stopped) process.exit(1);
    stopped = true;
    resolve(signal);
  };
  process.on("SIGTERM", stop);
  process.on("SIGINT", stop);
  process.on("SIGHUP", remember);
  return promise;
}

/** Serves until `stopped`, then drains. SIGHUP reloads, SIGHUP and SIGUSR1 reopen log files. */
export async function serve(app: App, stopped: Promise<NodeJS.Signals>): Promise<void> {
  process.on("SIGUSR1", () => app.reopenLogs());
  process.on("SIGHUP", () => {
    app.reopenLogs();
    void app.reload("SIGHUP");
  });
  process.off("SIGHUP", remember);
  if (isReloadDue) void app.reload("SIGHUP");
  const signal = await stopped;
  app.log.info({ signal }, "shutting down");
  await app.close();
}

export type RunOptions = { file: string; workers?: number; logLevel?: string };

export function parseOptions(args: string[]): RunOptions {
  const { values } = parseArgs({
    args,
    options: {
      config: { type: "string", short: "c", default: "sluice.yaml" },
      workers: { type: "string" },
      "log-level": { type: "string" },
    },
  });
  const options: RunOptions = { file: values.config };
  const { workers, "log-level": level } = values;
  if (workers !== undefined) {
    options.workers = Number(workers);
    if (!/^\d+$/.test(workers) || options.workers < 1 || options.workers > 256)
      throw new UsageError(`invalid --workers "${workers}": expected a number from 1 to 256`);
  }
  if (level !== undefined) {
    if (!LOG_LEVELS.some((known) => known === level))
      throw new UsageError(`invalid --log-level "${level}": expected one of ${LOG_LEVELS.join(", ")}`);
    options.logLevel = level;
  }
  return options;
}
