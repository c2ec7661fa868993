/** Masks JSON within a text, complete or truncated; all other bytes stay unchanged. */
const MASKED = "***";

type Masking = {
  /** Whether the value of the member is secret. */
  hides(name: string): boolean;
  /** Masks a string whose member name is not secret. */
  text(text: string): string;
};

const STRING = /"(?:[^"\\]|\\.)*"?/sy;
const COLON = /\s*:\s*/y;
const SCALAR = /[^\s,}\]"]+/y;

export function maskJson(text: string, masking: Masking): string {
  let shown = "";
  let at = 0;
  for (let quote = text.indexOf('"'); quote >= 0; quote = text.indexOf('"', at)) {
    shown += text.slice(at, quote);
    const string = match(STRING, text, quote);
    at = quote + string.length;
    const colon = match(COLON, text, at);
    if (colon === "") {
      shown += show(string, masking);
      continue;
    }
    shown += string + colon;
    at += colon.length;
    if (!masking.hides(plain(string))) continue;
    const end = findEnd(text, at);
    shown += text[at] === '"' ? `"${MASKED}"` : end > at ? MASKED : "";
    at = end;
  }
  return shown + text.slice(at);
}

function match(pattern: RegExp, text: string, at: number): string {
  pattern.lastIndex = at;
  return pattern.exec(text)?.[0] ?? "";
}

/** The end of the value that starts at `start`. */
function findEnd(text: string, start: number): number {
  let depth = 0;
  for (let at = start; at < text.length; ) {
    const char = text[at]!;
    if (char === "{" || char === "[") depth++;
    else if (char === "}" || char === "]") depth--;
    const length = char === '"' ? match(STRING, text, at).length : match(SCALAR, text, at).length;
    if (depth < 0) return at;
    at += char === "{" || char === "[" ? 1 : Math.max(1, length);
    if (depth === 0) return at;
  }
  return text.length;
}

function show(string: string, { text }: Masking): string {
  const bare = plain(string);
  const shown = text(bare);
  if (shown === bare) return string;
  // With escapes the masked text cannot be mapped back to the source.
  return string.includes("\\") ? `"${MASKED}"` : string.replace(bare, () => shown);
}

/** The value of a string literal; a truncated or malformed one without its quotes. */
function plain(string: string): string {
  try {
    return String(JSON.parse(string));
  } catch {
    return string.replace(/^"|"$/g, "");
  }
}
