/** Publishes challenges on all workers: the ACME server may connect to any of them. */
import type { Challenge } from "../../net/acme/challenges.ts";
import type { Workers } from "../workers.ts";

/** Time for the confirmations of the workers, ms. */
const CONFIRM_TIMEOUT = 5000;

type Publishing = { readonly waiting: Set<number>; readonly done: () => void };

export class ChallengeBoard {
  readonly #workers: () => Pick<Workers, "up" | "post">;
  readonly #challenges = new Set<Challenge>();
  readonly #publishing = new Map<number, Publishing>();
  #next = 1;

  constructor(workers: () => Pick<Workers, "up" | "post">) {
    this.#workers = workers;
  }

  /** Returns when every running worker responds to the challenge. @throws Error if one does not confirm it in time */
  async publish(challenge: Challenge): Promise<void> {
    const workers = this.#workers();
    const waiting = new Set(workers.up());
    this.#challenges.add(challenge);
    if (waiting.size === 0) return;
    const number = this.#next++;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const timer = setTimeout(() => reject(new Error("a worker did not confirm the challenge")), CONFIRM_TIMEOUT);
    this.#publishing.set(number, { waiting, done: resolve });
    for (const worker of waiting) workers.post(worker, { type: "challenges", number, challenges: [challenge] });
    await promise.finally(() => {
      clearTimeout(timer);
      this.#publishing.delete(number);
    });
  }

  withdraw(challenge: Challenge): void {
    if (!this.#challenges.delete(challenge)) return;
    const workers = this.#workers();
    for (const worker of workers.up()) workers.post(worker, { type: "withdrawChallenge", challenge });
  }

  /** A worker has started. */
  workerUp(worker: number): void {
    if (this.#challenges.size === 0) return;
    this.#workers().post(worker, { type: "challenges", number: 0, challenges: [...this.#challenges] });
  }

  confirmed(worker: number, number: number): void {
    const publishing = this.#publishing.get(number);
    if (publishing?.waiting.delete(worker) && publishing.waiting.size === 0) publishing.done();
  }

  /** A worker has ended. */
  forget(worker: number): void {
    for (const number of [...this.#publishing.keys()]) this.confirmed(worker, number);
  }
}
