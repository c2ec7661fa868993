/** A worker; number 1 does not build a second version, and reports that on request. */
import { BroadcastChannel, parentPort, workerData } from "node:worker_threads";
import type { FromWorker, ToWorker } from "../../../src/worker/messages.ts";

if (workerData.worker === 1) {
  const port = parentPort!;
  const on = port.on.bind(port);
  const channel = new BroadcastChannel("sluice-refuse");
  channel.unref();
  port.on = ((event: "message", listener: (message: ToWorker) => void) =>
    on(event, (message: ToWorker) => {
      if (message.type !== "prepare" || message.plan.version === 1) return listener(message);
      const refusal: FromWorker = { type: "failed", version: message.plan.version, problem: "rejects on purpose" };
      channel.onmessage = () => port.postMessage(refusal);
    })) as typeof port.on;
}
await import("../../../src/worker/worker.ts");
