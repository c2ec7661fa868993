/**
 * Detects once a second that the process has no free file descriptor. The runtime then closes new client connections
 * without reporting it, so that nothing else shows it.
 */
import { closeSync, openSync } from "node:fs";
import { devNull } from "node:os";
import type { ThrottledLog } from "../observe/throttled-log.ts";

const INTERVAL = 1000;

export class DescriptorCheck {
  /** Number of checks that found no free descriptor. */
  exhausted = 0;
  readonly #warnings: ThrottledLog;
  readonly #timer: NodeJS.Timeout;

  constructor(warnings: ThrottledLog) {
    this.#warnings = warnings;
    this.#timer = setInterval(() => this.#check(), INTERVAL).unref();
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #check(): void {
    try {
      closeSync(openSync(devNull, "r"));
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      if (code !== "EMFILE" && code !== "ENFILE") return;
      this.exhausted++;
      if (this.#warnings.admits("descriptors_exhausted", ""))
        this.#warnings.write("no file descriptor is free: new client connections are closed", { cause: message });
    }
  }
}
