/** A worker that fails to start unless it is the first one. */
import { workerData } from "node:worker_threads";

if (workerData.worker > 0) throw new Error("told to fail");
await import("../../../src/worker/worker.ts");
