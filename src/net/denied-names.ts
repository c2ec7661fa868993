/** Names that were denied a certificate, each for a time. Bounded: of too many the oldest is forgotten. */

const MAX_NAMES = 2000;

export class DeniedNames {
  /** Wall-clock ms until which a name is denied. */
  readonly #until = new Map<string, number>();

  add(name: string, until: number): void {
    this.#until.delete(name);
    this.#until.set(name, until);
    if (this.#until.size > MAX_NAMES) this.#until.delete(this.#until.keys().next().value!);
  }

  /** Until when a name is denied, or null. */
  until(name: string, now: number): number | null {
    const until = this.#until.get(name);
    if (until === undefined || now < until) return until ?? null;
    this.#until.delete(name);
    return null;
  }
}
