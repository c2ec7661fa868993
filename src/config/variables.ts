/**
 * Expands `${NAME}`, `${NAME:-default}` and the escape `$${` in scalars of a configuration. A variable's value is data:
 * it is not parsed again, neither as YAML nor for references.
 */

export type Environment = Readonly<Record<string, string | undefined>>;

/** A part of a scalar: text, or a reference. `at` is the offset of its `${` in the scalar. */
type Part = string | { readonly name: string; readonly otherwise: readonly Part[] | null; readonly at: number };

/** A problem with a reference; `at` is the offset of its `${` in the scalar. */
export class VariableError extends Error {
  readonly at: number;
  constructor(message: string, at: number) {
    super(message);
    this.at = at;
  }
}

export type Expanded = {
  readonly text: string;
  /** Whether a variable was expanded, rather than only an escape. */
  readonly used: boolean;
};

/** Maximum nesting of defaults. */
const MAX_NESTING = 8;
const FORM = `"\${" without a variable's name and "}" after it, expected \${NAME}, \${NAME:-default}, or $\${ for itself`;

/** Expands the variables of a scalar. @throws VariableError */
export function expandVariables(text: string, env: Environment): Expanded {
  const parts = parse(text, 0, 0);
  return { text: evaluate(parts, env), used: parts.some((part) => typeof part !== "string") };
}

/** Parses all of `text`, including unused defaults; `base` is the offset of `text` in the scalar. */
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
    if (found === null) throw new VariableError(FORM, base + at);
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

/** The first `${` in a line that no name follows, or no end: YAML of such a line may be invalid because of it. */
export function findMalformed(line: string): { at: number; message: string } | undefined {
  const found = /(?<!\$)\$\{(?![A-Za-z_][A-Za-z0-9_]*(?:\}|:-))/.exec(line);
  return found === null ? undefined : { at: found.index, message: FORM };
}

/** The end of the reference that begins at `start`, after its matching closing brace; -1 if it is not closed. */
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
 * Makes `{ port: ${PORT} }` parse as YAML, where a brace ends an unquoted scalar: in each `${…}` the characters that end
 * one are replaced one for one before parsing, and restored in each scalar afterwards.
 */
const ENDERS = "{}[],";
const SHIELDS = "\u{fdd0}\u{fdd1}\u{fdd2}\u{fdd3}\u{fdd4}";

export function shield(text: string): string {
  const parts: string[] = [];
  let from = 0;
  for (let at = text.indexOf("${"); at >= 0; at = text.indexOf("${", from)) {
    const closed = findEnd(text, at, true);
    // A reference that is not closed on its line: only the brace is replaced, so that the problem has a position in one
    // scalar.
    const end = closed < 0 ? at + 2 : closed;
    parts.push(
      text.slice(from, at),
      text.slice(at, end).replace(/[{}[\],]/g, (one) => SHIELDS.charAt(ENDERS.indexOf(one))),
    );
    from = end;
    if (closed >= 0) continue;
    // Later references on this line cannot be closed either; searching again for each would be quadratic.
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

/** Whether a text contains characters that `shield` uses: Unicode noncharacters, which do not occur in valid text. */
export function hasShields(text: string): boolean {
  return /[\u{fdd0}-\u{fdd4}]/u.test(text);
}
