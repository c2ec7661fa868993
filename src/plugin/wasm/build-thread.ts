/** Entry point of the thread that builds modules within the build process (`build-process.ts`). */
import { parentPort } from "node:worker_threads";
import { checkModuleAt, compileChecked } from "./build.ts";
import type { BuildJob, BuildReply } from "./build-job.ts";
import { PluginError } from "./error.ts";

parentPort!.on("message", async ({ bytes, memory, path, hooks }: BuildJob) => {
  let reply: BuildReply;
  try {
    const checked = await checkModuleAt(bytes, { memory, path, hooks });
    // The proxy compiles it too; a failure here does not harm it.
    await compileChecked(checked);
    reply = { checked, problem: null };
  } catch (error) {
    const problem = error instanceof Error ? error.message : String(error);
    reply = { checked: null, problem, hook: error instanceof PluginError ? error.hook : "", ends: false };
  }
  parentPort!.postMessage(reply);
});
