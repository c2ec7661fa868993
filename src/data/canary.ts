/** Composition root of the thread in which new versions are tried: it has nothing of the one in service. */
import { parentPort } from "node:worker_threads";
import type { CanaryOrder, CanaryReport } from "../control/canary-thread.ts";
import { startOnce } from "../plugin/canary.ts";

parentPort!.on("message", ({ order, parts }: CanaryOrder) => {
  const report: CanaryReport = { order, result: startOnce(parts) };
  parentPort!.postMessage(report);
});
