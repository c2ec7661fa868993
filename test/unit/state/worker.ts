/** A worker that performs a task on the store (`workers.test.ts`). */
import { parentPort, workerData } from "node:worker_threads";
import { STATUS } from "../../../src/abi/abi.ts";
import { KeyValueStore } from "../../../src/state/store.ts";
import { Keys } from "./kit.ts";

export type Work = {
  readonly buffer: SharedArrayBuffer;
  /** Words: workers that are ready, go, operations done. */
  readonly signals: SharedArrayBuffer;
  readonly worker: number;
  readonly task: keyof typeof tasks;
  readonly times: number;
};

const { buffer, signals, worker, task, times }: Work = workerData;
const words = new Int32Array(signals);
const keys = new Keys(new KeyValueStore(buffer, worker));
keys.repeatsBusy = true;

/** A value whose length and bytes follow from one number, so that a torn one is recognised. */
export function patternOf(number: number): Buffer {
  return Buffer.alloc(1 + ((number * 97) % 3000), number % 251);
}

export function isPattern(value: Buffer): boolean {
  if (value.some((byte) => byte !== value[0])) return false;
  for (let number = value[0]!; number < 3012; number += 251) if (patternOf(number).length === value.length) return true;
  return false;
}

function setUntilTaken(key: string, value: string | Buffer): void {
  while (keys.set(key, value) === STATUS.busy);
}

const tasks = {
  /** Adds one to one of a few counters, again when the store is busy. */
  increment() {
    for (let i = 0; i < times; i++) while (keys.increment(`n${i % 3}`) === `${STATUS.busy}`);
  },

  /** Puts its own mark behind a text, never losing another's. */
  append() {
    for (let i = 0; i < times; ) {
      const before = keys.get("text");
      const version = before === null ? 0 : keys.version;
      if (keys.compareAndSet("text", `${before ?? ""}${worker}`, version) === 1) i++;
    }
  },

  write() {
    for (let i = 0; i < times; i++) setUntilTaken(`p${i % 5}`, patternOf((i * 7 + worker) % 3012));
  },

  read() {
    for (let i = 0; i < times; i++) {
      const value = keys.bytes(`p${i % 5}`)!;
      if (!isPattern(value)) throw new Error(`torn: ${value.length} bytes, ${[...new Set(value)]}`);
    }
  },

  /** Until it is ended: everything that moves records. */
  endless() {
    for (let i = 0; ; i++) {
      Atomics.add(words, 2, 1);
      const key = `p${i % 50}`;
      if (i % 11 === 0) keys.delete(key);
      else if (i % 5 === 0) keys.increment(`n${i % 20}`);
      else keys.set(key, patternOf((i * 7) % 3012));
    }
  },

  /** Never leaves the shard: in the middle of a value that takes another's place (`times` bytes long). */
  stay() {
    const { operation } = keys;
    Object.assign(operation, { key: Buffer.from("victim"), keyStart: 0, keyEnd: 6, now: 1_000_000 });
    Object.assign(operation, { value: { copy: stay }, valueStart: 0, valueEnd: times });
    keys.store.set(operation);
  },
};

function stay(): never {
  for (;;) Atomics.add(words, 2, 1);
}

Atomics.add(words, 0, 1);
Atomics.notify(words, 0);
Atomics.wait(words, 1, 0);
tasks[task]();
parentPort!.postMessage("done");
