/** Compares a recorded call with its replay; differences are lines for a test to print. */
import type { TracedCall } from "../../sdk/test.js";
import { MASKED } from "../trace/mask.ts";
import { type Change, CUT, type FieldList } from "../trace/record.ts";

type Compared = Omit<TracedCall, "shared" | "edits"> & {
  readonly shared: FieldList;
  readonly edits: readonly Change[];
};

export class Comparison {
  readonly lines: string[] = [];
  /** Number of values that are equal except for masked or truncated parts. */
  masked = 0;
  readonly #ignore: ReadonlySet<string>;
  readonly #picks: boolean;

  constructor({ ignore, picks }: { readonly ignore: readonly string[]; readonly picks: boolean }) {
    this.#ignore = new Set(ignore);
    this.#picks = picks;
  }

  /** `hook`: prefix of its lines. */
  add(hook: string, recorded: Compared, now: Compared): void {
    if (hook === "pick" && recorded.failure === null && now.failure === null) {
      // A strategy that uses random numbers may pick differently.
      if (this.#picks && !isRandom(recorded) && !isRandom(now)) this.#compare(`${hook}:`, recorded.choice, now.choice);
      return;
    }
    if (recorded.failure === null && now.failure === null && recorded.result !== now.result)
      this.#compare(`${hook}: result:`, recorded.result, now.result);
    this.#compare(`${hook}: failure:`, recorded.failure?.reason ?? null, now.failure?.reason ?? null);
    if (recorded.failure !== null || now.failure !== null) return;
    this.#compareEdits(hook, recorded.edits, now.edits);
    this.#compare(`${hook}: cluster:`, recorded.cluster, now.cluster);
    this.#compare(`${hook}: strategy:`, recorded.strategy, now.strategy);
    this.#compareShared(hook, recorded.shared, now.shared);
    this.#compareBodies(hook, recorded, now);
  }

  #compareEdits(hook: string, recorded: readonly Change[], now: readonly Change[]): void {
    const edits = new Map<string, { recorded?: Change; now?: Change }>();
    for (const edit of recorded) edits.set(`${edit.of} ${edit.what}`, { recorded: edit });
    for (const edit of now)
      edits.set(`${edit.of} ${edit.what}`, { ...edits.get(`${edit.of} ${edit.what}`), now: edit });
    for (const pair of edits.values()) {
      const { of, what } = (pair.recorded ?? pair.now)!;
      if (this.#ignore.has(what)) continue;
      const name = `${hook}: ${of === "response" ? "response " : ""}${what}:`;
      if (pair.recorded === undefined)
        this.lines.push(`${name} the trace leaves it as it is, now ${show(pair.now!.after)}`);
      else if (pair.now === undefined)
        this.lines.push(`${name} the trace has ${show(pair.recorded.after)}, now it stays as it is`);
      else if (!this.#agree(pair.recorded.after, pair.now.after))
        this.lines.push(`${name} the trace has ${show(pair.recorded.after)}, now ${show(pair.now.after)}`);
      else if (!this.#agree(pair.recorded.before, pair.now.before))
        this.lines.push(
          `${name} before the hook the trace has ${show(pair.recorded.before)}, now ${show(pair.now.before)}`,
        );
    }
  }

  #compareShared(hook: string, recorded: FieldList, now: FieldList): void {
    const [before, set] = [new Map(recorded), new Map(now)];
    for (const name of new Set([...before.keys(), ...set.keys()])) {
      const [from, to] = [before.get(name), set.get(name)].map((value) => (value === undefined ? [] : [value]));
      if (!this.#ignore.has(`shared ${name}`) && !this.#agree(from!, to!))
        this.lines.push(`${hook}: shared ${name}: the trace has ${show(from!)}, now ${show(to!)}`);
    }
  }

  #compareBodies(hook: string, recorded: Compared, now: Compared): void {
    if (recorded.body === null || now.body === null || this.#ignore.has("body")) return;
    const { passed, after } = recorded.body;
    const replayed = now.body;
    if (passed !== undefined && replayed.passed !== undefined) this.#compare(`${hook}: body:`, passed, replayed.passed);
    else if (after !== replayed.after)
      this.lines.push(`${hook}: body: the trace passes ${after} bytes on, now ${replayed.after}`);
  }

  #compare(name: string, recorded: string | null, now: string | null): void {
    if (recorded !== now) this.lines.push(`${name} the trace has ${show(recorded)}, now ${show(now)}`);
  }

  #agree(recorded: readonly string[], replayed: readonly string[]): boolean {
    if (recorded.length !== replayed.length) return false;
    let masked = 0;
    for (const [i, text] of recorded.entries()) {
      if (text === replayed[i]) {
        if (text.includes(MASKED)) masked++;
      } else if (fits(text, replayed[i]!)) masked++;
      else return false;
    }
    this.masked += masked;
    return true;
  }
}

/** Whether a value matches a recorded one, in which `***` matches anything and a final `…` any rest. */
function fits(recorded: string, replayed: string): boolean {
  const isCut = recorded.endsWith(CUT);
  const [first = "", ...rest] = (isCut ? recorded.slice(0, -CUT.length) : recorded).split(MASKED);
  if (!replayed.startsWith(first)) return false;
  if (rest.length === 0) return isCut;
  let at = first.length;
  const last = isCut ? "" : rest.pop()!;
  for (const part of rest) {
    const found = replayed.indexOf(part, at);
    if (found < 0) return false;
    at = found + part.length;
  }
  return replayed.length - last.length >= at && replayed.endsWith(last);
}

function isRandom({ calls }: Compared): boolean {
  return (calls.random ?? 0) > 0 || (calls.random_bytes ?? 0) > 0;
}

function show(value: string | null | readonly string[]): string {
  if (value === null || value.length === 0) return "none";
  return [value]
    .flat()
    .map((text) => JSON.stringify(text.length > 200 ? `${text.slice(0, 200)}…` : text))
    .join(", ");
}
