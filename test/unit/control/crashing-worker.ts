/** A worker that fails on a message. */
import { BroadcastChannel, workerData } from "node:worker_threads";
import "../../../src/worker/worker.ts";

new BroadcastChannel("sluice-crash").onmessage = ({ data }) => {
  if (data === workerData.worker) throw new Error("fails on purpose");
};
