/** The thread of a build process that does the work (`build-process.ts`). */
import { parentPort } from "node:worker_threads";
import { checkModuleAt, compileChecked } from "./build.ts";
import type { BuildJob, BuildReply } from "./build-job.ts";

parentPort!.on("message", async ({ bytes, memory, path }: BuildJob) => {
  let reply: BuildReply;
  try {
    const checked = await checkModuleAt(bytes, { memory, path });
    // What the proxy is about to do with it, done where nothing is lost by it.
    await compileChecked(checked);
    reply = { checked, problem: null };
  } catch (error) {
    reply = { checked: null, problem: error instanceof Error ? error.message : String(error), ends: false };
  }
  parentPort!.postMessage(reply);
});
