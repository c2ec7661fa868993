/**
 * Loaded before the program by `--import`: at SIGUSR2 worker 0 fails, by an exception that nothing catches. The
 * program itself is as it is; Node loads such a module in every thread.
 */
import { BroadcastChannel, isMainThread, workerData } from "node:worker_threads";

const channel = new BroadcastChannel("fail");
channel.unref();
if (isMainThread) process.on("SIGUSR2", () => channel.postMessage(0));
else
  channel.onmessage = ({ data }) => {
    if (data === workerData?.worker) throw new Error("told to fail");
  };
