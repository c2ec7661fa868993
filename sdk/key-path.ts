// Paths of keys with dots between: a dot within a key is written `\.`, a backslash before a dot or a backslash `\\`.

const DOT: i32 = 0x2e;
const BACKSLASH: i32 = 0x5c;

/** Where the key that reaches to `from` at least ends: at the next dot that is not escaped, or at the path's end. */
export function findKeyEnd(path: string, from: i32): i32 {
  for (let at = from, length = path.length; at < length; at++) {
    const unit = path.charCodeAt(at);
    if (unit == DOT) return at;
    if (unit == BACKSLASH && at + 1 < length && isEscaped(path.charCodeAt(at + 1))) at++;
  }
  return path.length;
}

export function escapeKey(key: string): string {
  return key.includes(".") || key.includes("\\") ? key.replaceAll("\\", "\\\\").replaceAll(".", "\\.") : key;
}

export function unescapeKey(key: string): string {
  if (!key.includes("\\")) return key;
  let text = "";
  for (let at = 0, length = key.length; at < length; at++) {
    if (key.charCodeAt(at) == BACKSLASH && at + 1 < length && isEscaped(key.charCodeAt(at + 1))) at++;
    text += key.charAt(at);
  }
  return text;
}

function isEscaped(unit: i32): bool {
  return unit == DOT || unit == BACKSLASH;
}
