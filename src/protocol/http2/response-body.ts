/** A response's body between stream and consumer: keeps what is received while the consumer is slow, up to a window. */
import { PendingBuffer } from "../../net/pending-buffer.ts";

export interface BodyOwner {
  /** The consumer gets these bytes, the last ones if `ends`; nothing once the attempt has ended. */
  deliver(bytes: Buffer, start: number, end: number, ends: boolean): void;
  /** Runs `run`; an exception in it ends the exchange only. */
  guard(run: () => void): void;
}

export class ResponseBody {
  isPaused = false;
  readonly #owner: BodyOwner;
  readonly #kept = new PendingBuffer();
  #keptEnd = false;
  /** What is kept is delivered in the next turn of the event loop. */
  #isScheduled = false;

  constructor(owner: BodyOwner) {
    this.#owner = owner;
  }

  /** Delivers the bytes; returns false if they are kept. */
  take(bytes: Buffer, start: number, end: number, ends: boolean): boolean {
    if (this.isPaused || this.#isScheduled) {
      this.#kept.append(bytes, start, end);
      this.#keptEnd = ends;
      return false;
    }
    this.#owner.deliver(bytes, start, end, ends);
    return true;
  }

  resume(): void {
    this.isPaused = false;
    if (this.#isScheduled || (this.#kept.length === 0 && !this.#keptEnd)) return;
    // Not now: the exchange is executing a step.
    this.#isScheduled = true;
    setImmediate(() => this.#owner.guard(() => this.#deliverKept()));
  }

  #deliverKept(): void {
    this.#isScheduled = false;
    if (this.isPaused) return;
    const { bytes, start, end } = this.#kept;
    this.#kept.drop();
    this.#owner.deliver(bytes, start, end, this.#keptEnd);
  }
}
