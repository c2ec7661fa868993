/** Positions in a configuration file, and problems with their positions. */

export type Place = {
  readonly file: string;
  /** Both 1-based. */
  readonly line: number;
  readonly column: number;
  /** `listeners.web.routes.0.match`; empty for the whole file. */
  readonly path: string;
};

export type Problem = Place & {
  readonly message: string;
  /** Keys of which the map at `path` lacks one. */
  readonly absent?: readonly string[];
  /** Of an unknown key: the known keys that its message suggests. */
  readonly meant?: readonly string[];
};

/** Comparator: by line, then column. */
export function byPlace(a: Place, b: Place): number {
  return a.line - b.line || a.column - b.column;
}

/** Whether one of these problems is at that key or below it. */
export function hasProblem(problems: readonly Problem[], path: string): boolean {
  return problems.some((one) => one.path === path || one.path.startsWith(`${path}.`));
}

/**
 * Omits problems that another one explains: a key is missing because the one that is given for it is misspelt, or
 * belongs to another program, or has an invalid value.
 */
export function omitFollowUps(problems: readonly Problem[]): Problem[] {
  return problems.filter(({ path, absent }) => {
    if (absent === undefined) return true;
    const inMap = path === "" ? "" : `${path}.`;
    return !problems.some(
      (other) =>
        absent.some((key) => hasProblem([other], `${inMap}${key}`)) ||
        (other.path.startsWith(inMap) && other.path.indexOf(".", inMap.length) < 0 && intersects(other.meant, absent)),
    );
  });
}

function intersects(some: readonly string[] = [], others: readonly string[]): boolean {
  return some.some((one) => others.includes(one));
}

/** `file:line:col: path.to.key: what is wrong, what was expected`. */
export function formatProblem(problem: Problem): string {
  const path = problem.path === "" ? "" : `${problem.path}: `;
  // A problem is one line, but a plugin's message may have several; and keys and messages may have characters that a
  // terminal would interpret.
  const text = `${path}${problem.message.replace(/\s*\n\s*/g, ", ")}`.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, "?");
  return `${problem.file}:${problem.line}:${problem.column}: ${text}`;
}

/** The known word nearest to a mistyped one by edit distance; undefined if none is near. */
export function findNearest(word: string, known: Iterable<string>): string | undefined {
  let best: string | undefined;
  let least = (word.length < 5 ? 1 : Math.max(2, Math.floor(word.length / 3))) + 1;
  for (const candidate of known) {
    const distance = countEdits(word.toLowerCase(), candidate.toLowerCase(), least);
    if (distance < least) {
      least = distance;
      best = candidate;
    }
  }
  return best;
}

/** Whether one edit makes the word the known one, regardless of case. */
export function isOneEdit(word: string, known: string): boolean {
  return countEdits(word.toLowerCase(), known.toLowerCase(), 2) < 2;
}

/** Continues "expected a map" where the value `text` is none: by the key that it names, otherwise by all if they are few. */
export function hintKeys(text: string, keys: readonly string[]): string {
  if (keys.includes(text)) return `, such as { ${text}: … }`;
  return keys.length > 0 && keys.length <= 12 ? ` with keys such as ${keys.join(", ")}` : "";
}

/** Suffix such as `, did you mean "x"?`: the nearest word if one is near, otherwise the list of words. */
export function hint(word: string, known: readonly string[]): string {
  const near = findNearest(word, known);
  if (near !== undefined) return `did you mean "${near}"`;
  return known.length === 0 ? "there is none" : `expected one of ${known.join(", ")}`;
}

/** Edit distance from `a` to `b` (insert, delete, replace, transpose), at most `limit`. */
function countEdits(a: string, b: string, limit: number): number {
  if (Math.abs(a.length - b.length) >= limit) return limit;
  let before: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1] ? 0 : 1;
      let edits = Math.min(last[j]! + 1, row[j - 1]! + 1, last[j - 1]! + same);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) edits = Math.min(edits, before[j - 2]! + 1);
      row.push(edits);
    }
    before = last;
    last = row;
  }
  return Math.min(last[b.length]!, limit);
}
