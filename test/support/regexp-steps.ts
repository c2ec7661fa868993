/**
 * Counts the steps of a backtracking engine, as V8's is, which reports none. A pattern is translated to matchers, one for
 * each part; a step is the comparison of a character.
 */
import assert from "node:assert/strict";

/** Calls `next` with each end of a match at `at`, in the order of preference, until it returns true. */
type Matcher = (at: number, next: (end: number) => boolean) => boolean;
/** The first part is the flags `ims`, the second the source of a character or class. */
type Atom = (char: string) => boolean;
type Quantity = { readonly least: number; readonly most: number; readonly lazy: boolean };

const ATOM = /\\[pP]\{\w+\}|\\x[0-9A-Fa-f]{2}|\\u[0-9A-Fa-f]{4}|\\[^1-9]|\[(?:\\.|[^\]\\])*\]|[^\\()[\]|*+?{}]/sy;
const GROUP = /\((\?:|\?=|\?!|\?<=|\?<!|\?<\w+>|\?[ims]+:)?/y;
const QUANTIFIER = /([*+?]|\{(\d+)(,?)(\d*)\})(\??)/y;

let text = "";
let steps = 0;

/** The steps of `pattern` in `subject` from `from`. Fails unless they find what `exec` has found. */
export function countRegExpSteps(
  pattern: RegExp,
  subject: string,
  from: number,
  found: RegExpExecArray | null,
): number {
  const match = translate(pattern);
  [text, steps] = [subject, 0];
  let end = -1;
  let start = pattern.global || pattern.sticky ? from : 0;
  while (!match(start, (at) => (end = at) >= 0) && !pattern.sticky && start < text.length) start++;
  const isSame = found === null ? end < 0 : found.index === start && found[0].length === end - start;
  if (!isSame) assert.fail(`the steps of ${pattern} find ${start} to ${end}, not ${found?.index}: ${found?.[0]}`);
  return steps;
}

const translated = new Map<string, Matcher>();

function translate(pattern: RegExp): Matcher {
  const key = String(pattern);
  const known = translated.get(key);
  if (known !== undefined) return known;
  const parser = new Parser(pattern.source);
  const made = parser.alternatives(pattern.flags.replace(/[^imsu]/g, ""));
  parser.expectEnd();
  translated.set(key, made);
  return made;
}

class Parser {
  readonly #source: string;
  #at = 0;

  constructor(source: string) {
    this.#source = source;
  }

  expectEnd(): void {
    assert.equal(this.#at, this.#source.length, `cannot read ${this.#source} from ${this.#source.slice(this.#at)}`);
  }

  alternatives(flags: string): Matcher {
    const all = [this.#sequence(flags)];
    while (this.#skip("|")) all.push(this.#sequence(flags));
    return all.length === 1 ? all[0]! : (at, next) => all.some((one) => one(at, next));
  }

  #sequence(flags: string): Matcher {
    const parts: Matcher[] = [];
    for (let part = this.#part(flags); part !== null; part = this.#part(flags)) parts.push(part);
    return parts.reduceRight<Matcher>(
      (rest, part) => (at, next) => part(at, (end) => rest(end, next)),
      (at, next) => next(at),
    );
  }

  #part(flags: string): Matcher | null {
    const group = this.#take(GROUP);
    if (group !== null) return this.#group(group[1] ?? "", flags);
    const source = this.#take(ATOM)?.[0];
    if (source === undefined) return null;
    if (["^", "$", "\\b", "\\B"].includes(source)) return assertion(new RegExp(source, `${flags}y`));
    const atom = makeAtom(source, flags);
    const quantity = this.#quantity();
    return quantity === null ? single(atom) : quantity.lazy ? repeat(single(atom), quantity) : run(atom, quantity);
  }

  #group(kind: string, flags: string): Matcher {
    const body = this.alternatives(/^\?[ims]/.test(kind) ? flags + kind.slice(1, -1) : flags);
    assert.ok(this.#skip(")"), this.#source);
    if (kind === "?=") return (at, next) => body(at, () => true) && next(at);
    if (kind === "?!") return (at, next) => !body(at, () => true) && next(at);
    // What precedes is one character, or the begin of the text.
    const isBefore = (at: number): boolean =>
      body(Math.max(0, at - 1), (end) => end === at) || (at > 0 && body(at, (end) => end === at));
    if (kind === "?<=") return (at, next) => isBefore(at) && next(at);
    if (kind === "?<!") return (at, next) => !isBefore(at) && next(at);
    const quantity = this.#quantity();
    return quantity === null ? body : repeat(body, quantity);
  }

  #quantity(): Quantity | null {
    const found = this.#take(QUANTIFIER);
    if (found === null) return null;
    const [, kind, low, comma, high, lazy] = found;
    const least = kind === "+" ? 1 : Number(low ?? 0);
    const most = kind === "?" ? 1 : low === undefined || (comma !== "" && high === "") ? Infinity : Number(high || low);
    return { least, most, lazy: lazy !== "" };
  }

  #take(pattern: RegExp): RegExpExecArray | null {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#source);
    this.#at += found?.[0].length ?? 0;
    return found;
  }

  #skip(char: string): boolean {
    if (this.#source[this.#at] !== char) return false;
    this.#at++;
    return true;
  }
}

/** V8 itself decides about one character. */
function makeAtom(source: string, flags: string): Atom {
  const pattern = new RegExp(`^(?:${source})$`, flags.replace("m", ""));
  const known = new Map<string, boolean>();
  return (char) => {
    steps++;
    let is = known.get(char);
    if (is === undefined) known.set(char, (is = pattern.test(char)));
    return is;
  };
}

function assertion(pattern: RegExp): Matcher {
  return (at, next) => {
    steps++;
    pattern.lastIndex = at;
    return pattern.test(text) && next(at);
  };
}

function single(atom: Atom): Matcher {
  return (at, next) => at < text.length && atom(text[at]!) && next(at + 1);
}

/** A greedy repetition of one character. */
function run(atom: Atom, { least, most }: Quantity): Matcher {
  return (at, next) => {
    let end = at;
    while (end < text.length && end - at < most && atom(text[end]!)) end++;
    for (; end >= at + least; end--) if (next(end)) return true;
    return false;
  };
}

function repeat(body: Matcher, { least, most, lazy }: Quantity): Matcher {
  const from = (count: number, at: number, next: (end: number) => boolean): boolean => {
    const more = (): boolean =>
      count < most && body(at, (end) => (end > at || count < least) && from(count + 1, end, next));
    if (count < least) return more();
    return lazy ? next(at) || more() : more() || next(at);
  };
  return (at, next) => from(0, at, next);
}
