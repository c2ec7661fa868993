/** The program's log: JSON lines, written by the main thread only. */
import pino from "pino";
import { LineWriter } from "./line-writer.ts";
import { LogTarget } from "./log-target.ts";

export type Log = pino.Logger;

export const LOG_LEVELS = ["trace", "debug", "info", "warn", "error", "fatal", "silent"] as const;

/** Bytes of UTF-8 for a code unit. */
const MAX_UNIT = 3;

export function createLog(level: string, lines = new ProgramLines()): Log {
  const options: pino.LoggerOptions = {
    level,
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label) => ({ level: label }) },
  };
  return pino(options, lines);
}

/** The destination for pino: standard output, non-blocking. */
export class ProgramLines {
  /** Number of dropped lines. */
  dropped = 0;
  readonly #writer = new LineWriter({
    target: new LogTarget(),
    dropped: (lines) => {
      this.dropped += lines;
    },
  });
  readonly #atExit = () => this.#writer.closeNow();

  constructor() {
    process.on("exit", this.#atExit);
  }

  write(text: string): void {
    const out = this.#writer.begin(MAX_UNIT * text.length);
    if (out === null) return;
    const { length } = this.#writer;
    this.#writer.end(length + out.write(text, length), performance.now());
    this.#writer.flush();
  }

  reopen(): void {
    this.#writer.reopen();
  }

  async close(): Promise<void> {
    process.off("exit", this.#atExit);
    await this.#writer.close();
  }
}
