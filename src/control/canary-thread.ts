/**
 * A thread in which the guests of new versions are started, so that start-up code which takes long holds up nobody: not
 * the supervision of the main thread, and no traffic. It is kept for a while, since reloads seldom come alone.
 */
import { extname } from "node:path";
import { Worker } from "node:worker_threads";
import type { CanaryResult } from "../plugin/canary.ts";
import type { PluginParts } from "../plugin/host.ts";

export type CanaryOrder = { readonly order: number; readonly parts: PluginParts };
export type CanaryReport = { readonly order: number; readonly result: CanaryResult };

const ENTRY = new URL(`../data/canary${extname(import.meta.filename)}`, import.meta.url);
/** All guests of a version; each data thread starts them as well, and is given as long. */
const TIME = 10_000;
const KEPT = 30_000;

export class CanaryThread {
  readonly #entry: URL;
  readonly #time: number;
  #worker: Worker | null = null;
  #orders = 0;
  #idle: NodeJS.Timeout | null = null;

  constructor({ entry = ENTRY, time = TIME }: { readonly entry?: URL; readonly time?: number } = {}) {
    this.#entry = entry;
    this.#time = time;
  }

  /** Begins to start it, for who will need it soon. */
  warm(): void {
    this.#worker ??= this.#start();
  }

  /** One at a time. Never throws: what is wrong is in the result. */
  async try(parts: PluginParts): Promise<CanaryResult> {
    if (this.#idle !== null) clearTimeout(this.#idle);
    const worker = (this.#worker ??= this.#start());
    const order: CanaryOrder = { order: ++this.#orders, parts };
    const { promise, resolve } = Promise.withResolvers<CanaryResult | string>();
    const receive = (report: CanaryReport) => report.order === order.order && resolve(report.result);
    const fail = (error: Error) => resolve(`the thread that starts them failed: ${error.message}`);
    const end = () => resolve("the thread that starts them ended");
    const timer = setTimeout(() => resolve(`starting them took more than ${this.#time / 1000} s`), this.#time);
    worker.on("message", receive).on("error", fail).on("exit", end);
    worker.postMessage(order);
    const result = await promise;
    clearTimeout(timer);
    worker.off("message", receive).off("error", fail).off("exit", end);
    if (typeof result !== "string") {
      this.#keep();
      return result;
    }
    await this.close();
    const count = parts.instances.length;
    return {
      guests: 0,
      metrics: [],
      problems: [{ instance: -1, message: `${count} configurations of plugins could not be tried: ${result}` }],
    };
  }

  async close(): Promise<void> {
    if (this.#idle !== null) clearTimeout(this.#idle);
    const worker = this.#worker;
    this.#worker = null;
    await worker?.terminate();
  }

  #keep(): void {
    this.#idle = setTimeout(() => void this.close(), KEPT);
    this.#idle.unref();
  }

  #start(): Worker {
    const worker = new Worker(this.#entry);
    worker.unref();
    worker.on("error", () => undefined);
    worker.on("exit", () => {
      if (this.#worker === worker) this.#worker = null;
    });
    return worker;
  }
}
