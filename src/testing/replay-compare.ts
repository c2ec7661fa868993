/** What differs between a call as a trace has it and the same call replayed, in lines that a test prints. */
import type { TracedCall } from "../../sdk/test.js";
import { MASKED } from "../trace/mask.ts";
import type { Change } from "../trace/snapshot-diff.ts";
import { CUT, type FieldList } from "../trace/trace.ts";

type Compared = Omit<TracedCall, "shared" | "edits"> & {
  readonly shared: FieldList;
  readonly edits: readonly Change[];
};

export class Comparison {
  readonly lines: string[] = [];
  /** Values that are equal as far as the trace shows them. */
  masked = 0;
  readonly #ignore: ReadonlySet<string>;
  readonly #picks: boolean;

  constructor({ ignore, picks }: { readonly ignore: readonly string[]; readonly picks: boolean }) {
    this.#ignore = new Set(ignore);
    this.#picks = picks;
  }

  /** `hook`: how its lines begin. */
  add(hook: string, told: Compared, now: Compared): void {
    if (hook === "pick" && told.failure === null && now.failure === null) {
      // What a strategy draws by chance it need not draw again.
      if (this.#picks && !drawsLots(told) && !drawsLots(now)) this.#tell(`${hook}:`, told.choice, now.choice);
      return;
    }
    if (told.failure === null && now.failure === null && told.result !== now.result)
      this.#tell(`${hook}: result:`, told.result, now.result);
    this.#tell(`${hook}: failure:`, told.failure?.reason ?? null, now.failure?.reason ?? null);
    if (told.failure !== null || now.failure !== null) return;
    this.#compareEdits(hook, told.edits, now.edits);
    this.#tell(`${hook}: cluster:`, told.cluster, now.cluster);
    this.#tell(`${hook}: strategy:`, told.strategy, now.strategy);
    this.#compareShared(hook, told.shared, now.shared);
    this.#compareBodies(hook, told, now);
  }

  #compareEdits(hook: string, told: readonly Change[], now: readonly Change[]): void {
    const edits = new Map<string, { told?: Change; now?: Change }>();
    for (const edit of told) edits.set(`${edit.of} ${edit.what}`, { told: edit });
    for (const edit of now)
      edits.set(`${edit.of} ${edit.what}`, { ...edits.get(`${edit.of} ${edit.what}`), now: edit });
    for (const pair of edits.values()) {
      const { of, what } = (pair.told ?? pair.now)!;
      if (this.#ignore.has(what)) continue;
      const name = `${hook}: ${of === "response" ? "answer's " : ""}${what}:`;
      if (pair.told === undefined)
        this.lines.push(`${name} the trace leaves it as it is, now ${show(pair.now!.after)}`);
      else if (pair.now === undefined)
        this.lines.push(`${name} the trace has ${show(pair.told.after)}, now it stays as it is`);
      else if (!this.#agree(pair.told.after, pair.now.after))
        this.lines.push(`${name} the trace has ${show(pair.told.after)}, now ${show(pair.now.after)}`);
      else if (!this.#agree(pair.told.before, pair.now.before))
        this.lines.push(
          `${name} before the hook the trace has ${show(pair.told.before)}, now ${show(pair.now.before)}`,
        );
    }
  }

  #compareShared(hook: string, told: FieldList, now: FieldList): void {
    const [before, set] = [new Map(told), new Map(now)];
    for (const name of new Set([...before.keys(), ...set.keys()])) {
      const [from, to] = [before.get(name), set.get(name)].map((value) => (value === undefined ? [] : [value]));
      if (!this.#ignore.has(`shared ${name}`) && !this.#agree(from!, to!))
        this.lines.push(`${hook}: shared ${name}: the trace has ${show(from!)}, now ${show(to!)}`);
    }
  }

  #compareBodies(hook: string, told: Compared, now: Compared): void {
    if (told.body === null || now.body === null || this.#ignore.has("body")) return;
    const { passed, after } = told.body;
    const made = now.body;
    if (passed !== undefined && made.passed !== undefined) this.#tell(`${hook}: body:`, passed, made.passed);
    else if (after !== made.after)
      this.lines.push(`${hook}: body: the trace passes ${after} bytes on, now ${made.after}`);
  }

  #tell(name: string, told: string | null, now: string | null): void {
    if (told !== now) this.lines.push(`${name} the trace has ${show(told)}, now ${show(now)}`);
  }

  #agree(told: readonly string[], made: readonly string[]): boolean {
    if (told.length !== made.length) return false;
    let masked = 0;
    for (const [i, text] of told.entries()) {
      if (text === made[i]) {
        if (text.includes(MASKED)) masked++;
      } else if (fits(text, made[i]!)) masked++;
      else return false;
    }
    this.masked += masked;
    return true;
  }
}

/** Whether a value can be what a trace shows as `told`: masked parts stand for anything, and a cut one goes on. */
function fits(told: string, made: string): boolean {
  const isCut = told.endsWith(CUT);
  const [first = "", ...rest] = (isCut ? told.slice(0, -CUT.length) : told).split(MASKED);
  if (!made.startsWith(first)) return false;
  if (rest.length === 0) return isCut;
  let at = first.length;
  const last = isCut ? "" : rest.pop()!;
  for (const part of rest) {
    const found = made.indexOf(part, at);
    if (found < 0) return false;
    at = found + part.length;
  }
  return made.length - last.length >= at && made.endsWith(last);
}

function drawsLots({ calls }: Compared): boolean {
  return (calls.random ?? 0) > 0 || (calls.random_bytes ?? 0) > 0;
}

function show(value: string | null | readonly string[]): string {
  if (value === null || value.length === 0) return "none";
  return [value]
    .flat()
    .map((text) => JSON.stringify(text.length > 200 ? `${text.slice(0, 200)}…` : text))
    .join(", ");
}
