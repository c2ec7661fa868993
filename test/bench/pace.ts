/**
 * Sends requests at a fixed rate, independent of responses: `PORT PATH RATE SECONDS CONNECTIONS FROM EARLIER`, as one line
 * of JSON. A request's time counts from when it was due, so that a stalled proxy is late for all that were due meanwhile.
 * The interval begins at FROM (ms since 1970). Requests are sent EARLIER ms before that too, and not counted, so that
 * neither side is cold.
 */
import { connect, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { quantileOf } from "./statistics.ts";

export type Paced = {
  readonly asked: number;
  /** Responses by status. */
  readonly statuses: Readonly<Record<string, number>>;
  /** Connections that failed during a request, and requests without a response at the end. */
  readonly broken: number;
  readonly pending: number;
  /** Time to the complete response, µs. */
  readonly p50: number;
  readonly p99: number;
  readonly most: number;
};

type Line = { socket: Socket; due: number; text: string };

const STEP = 1;
/** What is asked last may take so long, ms. */
const LAST_RESPONSE_TIME = 8000;

export class Pacer {
  readonly #port: number;
  readonly #request: string;
  readonly #most: number;
  readonly #idle: Line[] = [];
  readonly #due: number[] = [];
  readonly #times: number[] = [];
  readonly #statuses: Record<string, number> = {};
  #lines = 0;
  #busy = 0;
  #broken = 0;
  #asked = 0;
  #from = 0;

  constructor(port: number, path: string, most: number) {
    this.#port = port;
    this.#request = `GET ${path} HTTP/1.1\r\nHost: pace.example\r\n\r\n`;
    this.#most = most;
  }

  /** `earlier`: ms of requests before those that count. */
  async run(rate: number, seconds: number, earlier = 0): Promise<Paced> {
    const begin = performance.now();
    this.#from = begin + earlier;
    const uncounted = Math.floor((earlier * rate) / 1000);
    const total = uncounted + rate * seconds;
    for (let asked = 0; asked < total; ) {
      const now = performance.now();
      const due = Math.min(total, Math.floor(((now - begin) * rate) / 1000));
      for (; asked < due; asked++) this.#ask(now);
      await sleep(STEP);
    }
    const end = performance.now() + LAST_RESPONSE_TIME;
    while (this.#open > 0 && performance.now() < end) await sleep(STEP);
    const sorted = this.#times.sort((a, b) => a - b);
    const micros = (share: number): number => Math.round(quantileOf(sorted, share) * 1000);
    return {
      ...{ asked: this.#asked, statuses: this.#statuses, broken: this.#broken, pending: this.#open },
      ...{ p50: micros(0.5), p99: micros(0.99), most: micros(1) },
    };
  }

  get #open(): number {
    return this.#busy + this.#due.length;
  }

  #ask(due: number): void {
    if (due >= this.#from) this.#asked++;
    const line = this.#idle.pop() ?? (this.#lines < this.#most ? this.#connect() : null);
    if (line === null) this.#due.push(due);
    else this.#send(line, due);
  }

  #send(line: Line, due: number): void {
    this.#busy++;
    line.due = due;
    line.text = "";
    line.socket.write(this.#request);
  }

  #connect(): Line {
    this.#lines++;
    const line: Line = { socket: connect(this.#port, "127.0.0.1"), due: 0, text: "" };
    line.socket.setNoDelay(true).on("data", (bytes: Buffer) => this.#receive(line, bytes));
    line.socket.on("error", () => line.socket.destroy());
    line.socket.once("close", () => this.#closed(line));
    return line;
  }

  #receive(line: Line, bytes: Buffer): void {
    line.text += bytes.toString("latin1");
    const status = readStatus(line.text);
    if (status === null || line.due === 0) return;
    if (line.due >= this.#from) {
      this.#times.push(performance.now() - line.due);
      this.#statuses[status] = (this.#statuses[status] ?? 0) + 1;
    }
    this.#busy--;
    line.due = 0;
    if (/^connection: close\r$/im.test(line.text)) line.socket.destroy();
    else this.#free(line);
  }

  #free(line: Line): void {
    const due = this.#due.shift();
    if (due === undefined) this.#idle.push(line);
    else this.#send(line, due);
  }

  #closed(line: Line): void {
    this.#lines--;
    const at = this.#idle.indexOf(line);
    if (at >= 0) this.#idle.splice(at, 1);
    if (line.due > 0) {
      this.#broken++;
      this.#busy--;
    }
    const due = this.#due.shift();
    if (due !== undefined) this.#send(this.#connect(), due);
  }
}

/** The status of a complete response; null if it is incomplete. */
export function readStatus(text: string): string | null {
  const end = text.indexOf("\r\n\r\n");
  if (end < 0) return null;
  const length = Number(/^content-length: (\d+)\r$/im.exec(text.slice(0, end + 2))?.[1] ?? 0);
  return text.length >= end + 4 + length ? text.slice(9, 12) : null;
}

if (import.meta.main) {
  const [port, path = "/", ...values] = process.argv.slice(2);
  const [rate = 0, seconds = 0, connections = 0, from = 0, earlier = 0] = values.map(Number);
  await sleep(Math.max(0, from - earlier - Date.now()));
  const paced = await new Pacer(Number(port), path, connections).run(rate, seconds, Math.max(0, from - Date.now()));
  console.log(JSON.stringify(paced));
  process.exit(0);
}
