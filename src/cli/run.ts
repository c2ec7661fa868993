import { parseArgs } from "node:util";
import { type App, StartError, startApp } from "../control/app.ts";
import { LOG_LEVELS } from "../observe/log.ts";
import { UsageError } from "./usage.ts";

/** Runs the proxy until a signal ends it. */
export async function run(args: string[]): Promise<number> {
  const options = parseOptions(args);
  let app: App;
  try {
    app = await startApp(options);
  } catch (error) {
    if (!(error instanceof StartError)) throw error;
    for (const line of error.problems) process.stderr.write(`${line}\n`);
    return 1;
  }
  await serveUntilSignal(app);
  return 0;
}

/** SIGHUP reloads, SIGHUP and SIGUSR1 open log files again. The first SIGTERM or SIGINT drains, a second one exits at once. */
export async function serveUntilSignal(app: App): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<NodeJS.Signals>();
  process.on("SIGUSR1", () => app.reopenLogs());
  process.on("SIGHUP", () => {
    app.reopenLogs();
    void app.reload("SIGHUP");
  });
  process.once("SIGTERM", resolve);
  process.once("SIGINT", resolve);
  const signal = await promise;
  app.log.info({ signal }, "shutting down");
  const leave = () => process.exit(1);
  process.on("SIGTERM", leave);
  process.on("SIGINT", leave);
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
      throw new UsageError(`--workers is ${workers}, expected a number from 1 to 256`);
  }
  if (level !== undefined) {
    if (!LOG_LEVELS.some((known) => known === level))
      throw new UsageError(`--log-level is ${level}, expected one of ${LOG_LEVELS.join(", ")}`);
    options.logLevel = level;
  }
  return options;
}
