/** A worker that only the first can be. */
import { workerData } from "node:worker_threads";

if (workerData.worker > 0) throw new Error("told to fail");
await import("../../../src/worker/worker.ts");
