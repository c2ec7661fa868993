/**
 * Runs plugin health checks on the workers, where the guests are, in turns. A job whose worker does not reply, ends, or
 * has just committed another version is assigned again.
 */

import { limitTime } from "../net/fair-timer.ts";
import type { FromWorker, ToWorker } from "../worker/messages.ts";
import type { CheckTarget } from "./endpoint-check.ts";
import type { OnResult } from "./probe.ts";

export type PluginCheckJobsOptions = {
  /** Workers that serve the version in service. */
  readonly serving: () => readonly number[];
  readonly post: (worker: number, message: ToWorker) => void;
};

/** ms. A worker limits the call itself; one that has not replied this much later is considered stuck. */
const REPLY_MARGIN = 500;
/** ms before a job is assigned again, so that all workers can commit a new version. */
const PAUSE = 20;
const MAX_TRIES = 5;

type Job = {
  readonly target: CheckTarget;
  readonly onResult: OnResult;
  tries: number;
  worker: number;
  /** Stops the timer of its timeout, or of the pause before it is assigned again. */
  stopTimer: () => void;
};

export class PluginCheckJobs {
  readonly #options: PluginCheckJobsOptions;
  /** By number; a job that is assigned again gets another, so that late replies are ignored. */
  readonly #jobs = new Map<number, Job>();
  /** Workers that have not replied in time. */
  readonly #unresponsive = new Set<number>();
  #last = 0;
  #turn = -1;

  constructor(options: PluginCheckJobsOptions) {
    this.#options = options;
  }

  /** Starts a check; the returned function cancels it, without a result. */
  begin(target: CheckTarget, onResult: OnResult): () => void {
    const job: Job = { target, onResult, tries: 0, worker: -1, stopTimer: () => undefined };
    this.#assign(job);
    return () => this.#cancel(job);
  }

  /** Handles a worker's reply. */
  receive(worker: number, { number, result }: Extract<FromWorker, { type: "checked" }>): void {
    this.#unresponsive.delete(worker);
    const job = this.#take(number);
    if (job === null) return;
    if (result !== null) job.onResult(result);
    else this.#assignLater(job);
  }

  /** Handles the end of a worker. */
  forget(worker: number): void {
    this.#unresponsive.delete(worker);
    for (const [number, job] of [...this.#jobs])
      if (job.worker === worker && this.#take(number) !== null) this.#assignLater(job);
  }

  #assign(job: Job): void {
    const worker = this.#choose();
    if (worker === null || job.tries >= MAX_TRIES) {
      const problem = worker === null ? "no worker is serving" : `no result after ${job.tries} attempts`;
      job.onResult({ result: "failed", problem });
      return;
    }
    const { cluster, endpoint, check } = job.target;
    const number = ++this.#last;
    job.tries++;
    job.worker = worker;
    job.stopTimer = limitTime(check.timeout + REPLY_MARGIN, () => this.#reassign(number));
    this.#jobs.set(number, job);
    const { timeout } = check;
    this.#options.post(worker, { type: "check", job: { number, cluster, slot: endpoint.slot, timeout } });
  }

  #assignLater(job: Job): void {
    const timer = setTimeout(() => this.#assign(job), PAUSE);
    job.stopTimer = () => clearTimeout(timer);
  }

  /** Assigns the job of a worker that did not reply to another one. */
  #reassign(number: number): void {
    const job = this.#take(number)!;
    this.#unresponsive.add(job.worker);
    this.#options.post(job.worker, { type: "cancelCheck", number });
    this.#assign(job);
  }

  #cancel(job: Job): void {
    job.stopTimer();
    for (const [number, other] of this.#jobs) {
      if (other !== job) continue;
      this.#jobs.delete(number);
      this.#options.post(job.worker, { type: "cancelCheck", number });
    }
  }

  #take(number: number): Job | null {
    const job = this.#jobs.get(number);
    if (job === undefined) return null;
    this.#jobs.delete(number);
    job.stopTimer();
    return job;
  }

  /** The next worker in turn; an unresponsive one only if there is no other. */
  #choose(): number | null {
    const all = this.#options.serving();
    const responsive = all.filter((worker) => !this.#unresponsive.has(worker));
    const workers = (responsive.length > 0 ? responsive : [...all]).sort((a, b) => a - b);
    const next = workers.find((worker) => worker > this.#turn) ?? workers[0];
    if (next === undefined) return null;
    this.#turn = next;
    return next;
  }
}
