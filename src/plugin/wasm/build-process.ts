/**
 * What runs in the process that builds modules (`builder.ts`): watches the thread that does the work, which may be lost
 * in a module for longer than anybody should wait, or take more memory than there is.
 */
import { writeFileSync } from "node:fs";
import { extname } from "node:path";
import { Worker } from "node:worker_threads";
import { BUILD_LIMITS, type BuildJob, type BuildLimits, type BuildReply } from "./build-job.ts";

const MEBI = 1024 * 1024;

try {
  // Where the machine runs out of memory, this process is the one to lose.
  writeFileSync("/proc/self/oom_score_adj", "1000");
} catch {
  // Only Linux has it.
}

const thread = new Worker(new URL(`./build-thread${extname(import.meta.filename)}`, import.meta.url), {
  resourceLimits: { maxOldGenerationSizeMb: BUILD_LIMITS.memory / MEBI },
});

/** What this process had used when the job began. */
let before = { memory: 0, time: 0 };
/** While there is a job. */
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
// The terminal's Ctrl-C is for the program alone.
process.on("SIGINT", () => undefined);

function look({ memory, time }: BuildLimits): void {
  if (process.memoryUsage.rss() - before.memory > memory)
    leave(`building it takes more than ${memory / MEBI} MiB of memory`);
  else if (processorTime() - before.time > time)
    leave(`building it takes more than ${time / 1000} s of processor time`);
}

/** Milliseconds that all threads of this process have used. */
function processorTime(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

function leave(problem: string): void {
  clearInterval(watch!);
  process.send!({ checked: null, problem, ends: true } satisfies BuildReply, end);
}

/** An exit in order would wait for the thread. */
function end(): void {
  process.kill(process.pid, "SIGKILL");
}
