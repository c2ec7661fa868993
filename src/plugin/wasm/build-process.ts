/**
 * Entry point of the process that builds modules (`builder.ts`). It supervises the thread that does the work and ends it
 * when a module exceeds the limits of time or memory.
 */
import { writeFileSync } from "node:fs";
import { extname } from "node:path";
import { Worker } from "node:worker_threads";
import { BUILD_LIMITS, type BuildJob, type BuildLimits, type BuildReply } from "./build-job.ts";

const MEBI = 1024 * 1024;

try {
  // If the machine runs out of memory, the kernel should kill this process first.
  writeFileSync("/proc/self/oom_score_adj", "1000");
} catch {
  // Only Linux has it.
}

const thread = new Worker(new URL(`./build-thread${extname(import.meta.filename)}`, import.meta.url), {
  resourceLimits: { maxOldGenerationSizeMb: BUILD_LIMITS.memory / MEBI },
});

/** Resource usage of this process at the start of the job. */
let before = { memory: 0, time: 0 };
/** Set during a job. */
let watch: NodeJS.Timeout | null = null;

process.on("message", (job: BuildJob) => {
  before = { memory: process.memoryUsage.rss(), time: processorTime() };
  watch = setInterval(look, 10, job.limits);
  thread.postMessage(job);
});
thread.on("message", (reply: BuildReply) => {
  clearInterval(watch!);
  watch = null;
  process.send!(reply);
});
thread.on("error", ({ message }) => leave(`the process that builds it failed: ${message}`));
process.on("disconnect", () => (watch === null ? process.exit() : end()));
// Ctrl-C in the terminal is handled by the parent process.
process.on("SIGINT", () => undefined);

function look({ memory, time }: BuildLimits): void {
  if (process.memoryUsage.rss() - before.memory > memory)
    leave(`building it takes more than ${memory / MEBI} MiB of memory`);
  else if (processorTime() - before.time > time)
    leave(`building it takes more than ${time / 1000} s of processor time`);
}

/** Processor time of all threads of this process in milliseconds. */
function processorTime(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

function leave(problem: string): void {
  clearInterval(watch!);
  process.send!({ checked: null, problem, hook: "", ends: true } satisfies BuildReply, end);
}

/** Ends at once: an orderly exit would wait for the thread. */
function end(): void {
  process.kill(process.pid, "SIGKILL");
}
