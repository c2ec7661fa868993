/** A worker that fails to start unless it is the first one. */
import { workerData } from "node:worker_threads";

if (workerData.worker > 0) throw new Error("fails on purpose");
await import("../../../src/worker/worker.ts");
