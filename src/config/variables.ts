/**
 * `${NAME}`, `${NAME:-default}` and the escape `$${` in the scalars of a configuration. A variable's value is data: it
 * is never parsed again, neither as YAML nor for further references.
 */

export type Environment = Readonly<Record<string, string | undefined>>;

/** A part of a scalar: text, or a reference. `at` is the offset of its `${` in the scalar. */
type Part = string | { readonly name: string; readonly otherwise: readonly Part[] | null; readonly at: number };

/** What is wrong with a reference; `at` is the offset of its `${` in the scalar. */
export class VariableError extends Error {
  readonly at: number;
  constructor(message: string, at: number) {
    super(message);
    this.at = at;
  }
}

export type Expanded = {
  readonly text: string;
  /** Whether a variable was put in, as against an escape only. */
  readonly used: boolean;
};

/** Defaults within defaults. */
const MAX_NESTING = 8;
const FORM = `expected \${NAME}, \${NAME:-default}, or $\${ for itself`;

/** A scalar with its variables put in. @throws VariableError */
export function expandVariables(text: string, env: Environment): Expanded {
  const parts = parse(text, 0, 0);
  return { text: evaluate(parts, env), used: parts.some((part) => typeof part !== "string") };
}

/** All of it is parsed, also a default that is not needed; `base` is where `text` begins in the scalar. */
function parse(text: string, base: number, depth: number): Part[] {
  const parts: Part[] = [];
  let from = 0;
  for (let at = text.indexOf("${"); at >= 0; at = text.indexOf("${", from)) {
    if (at > from && text[at - 1] === "$") {
      parts.push(text.slice(from, at - 1), "${");
      from = at + 2;
      continue;
    }
    const end = findEnd(text, at, false);
    const found = end < 0 ? null : /^([A-Za-z_][A-Za-z0-9_]*)(?::-([\s\S]*))?$/.exec(text.slice(at + 2, end - 1));
    if (found === null) throw new VariableError(`"\${" without a variable's name and "}" after it, ${FORM}`, base + at);
    if (depth >= MAX_NESTING)
      throw new VariableError(`too many defaults within each other, expected at most ${MAX_NESTING}`, base + at);
    const [, name = "", otherwise] = found;
    const inner = base + end - 1 - (otherwise?.length ?? 0);
    parts.push(text.slice(from, at), {
      name,
      otherwise: otherwise === undefined ? null : parse(otherwise, inner, depth + 1),
      at: base + at,
    });
    from = end;
  }
  parts.push(text.slice(from));
  return parts;
}

function evaluate(parts: readonly Part[], env: Environment): string {
  let text = "";
  for (const part of parts) {
    if (typeof part === "string") text += part;
    else text += resolve(part, env);
  }
  return text;
}

function resolve({ name, otherwise, at }: Exclude<Part, string>, env: Environment): string {
  const value = Object.hasOwn(env, name) ? env[name] : undefined;
  if (otherwise !== null) return value === undefined || value === "" ? evaluate(otherwise, env) : value;
  if (value !== undefined) return value;
  throw new VariableError(
    `the environment variable ${name} is not set, expected it or a default, as in \${${name}:-value}`,
    at,
  );
}

/** Where the reference that begins at `start` ends: behind the brace that closes it, braces counted; -1: nowhere. */
function findEnd(text: string, start: number, inLine: boolean): number {
  let depth = 0;
  for (let i = start + 1; i < text.length; i++) {
    const one = text[i];
    if (one === "{") depth++;
    else if (one === "}" && --depth === 0) return i + 1;
    else if (one === "\n" && inLine) return -1;
  }
  return -1;
}

/**
 * `{ port: ${PORT} }` is not YAML: a brace ends an unquoted word there. So in each `${…}` the characters that end one
 * are swapped for others, one for one, before YAML is parsed, and swapped back in each word.
 */
const ENDERS = "{}[],";
const SHIELDS = "\u{fdd0}\u{fdd1}\u{fdd2}\u{fdd3}\u{fdd4}";

export function shield(text: string): string {
  const parts: string[] = [];
  let from = 0;
  for (let at = text.indexOf("${"); at >= 0; at = text.indexOf("${", from)) {
    const closed = findEnd(text, at, true);
    // Without an end in its line only the brace is swapped, so that the scalar is one and its problem has a place.
    const end = closed < 0 ? at + 2 : closed;
    parts.push(
      text.slice(from, at),
      text.slice(at, end).replace(/[{}[\],]/g, (one) => SHIELDS.charAt(ENDERS.indexOf(one))),
    );
    from = end;
    if (closed >= 0) continue;
    // Nothing that follows in the line can be closed either: looking again and again would be quadratic.
    const line = text.indexOf("\n", at);
    parts.push(text.slice(from, line < 0 ? text.length : line));
    from = line < 0 ? text.length : line;
  }
  parts.push(text.slice(from));
  return parts.join("");
}

export function unshield(text: string): string {
  return text.replace(/[\u{fdd0}-\u{fdd4}]/gu, (one) => ENDERS.charAt(SHIELDS.indexOf(one)));
}

/** Whether a text holds characters that `shield` uses: noncharacters of Unicode, which no file has a use for. */
export function hasShields(text: string): boolean {
  return /[\u{fdd0}-\u{fdd4}]/u.test(text);
}
