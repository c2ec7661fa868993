import { Matcher } from "./matcher";
import { Emitter, NODE, Node, PLACE, Parsed } from "./pattern-tree";

const SLASH: i32 = 0x2f;

/**
 * A glob for paths. It must match the whole text. Create it at the top of the file or in `configure`; throws if the pattern
 * is invalid.
 *
 * - `?` matches one character except `/`
 * - `*` matches zero or more characters except `/`
 * - `**` as a whole segment matches zero or more segments: `/a/**` + `/b` matches `/a/b` and `/a/x/y/b`.
 *   At the end it matches any rest: `/a/**` matches `/a/`, `/a/b` and `/a/b/c`, but not `/a`
 * - `**` within a segment (`a**`, `**.js`) matches zero or more characters
 * - `[abc]`, `[a-z]`, `[!a-z]` match one character in or not in the set; never `/`
 * - a backslash makes the next character literal; other characters match themselves, case-sensitively
 *
 * Braces are literal: use two globs instead. Matching takes time linear in the text and allocates nothing.
 */
// @ts-ignore: decorator
@final
export class Glob extends Matcher {
  constructor(pattern: string) {
    super(parseGlob(pattern));
  }
}

function parseGlob(pattern: string): Parsed {
  const emitter = new Emitter(pattern);
  const tree = new Node(NODE.SEQUENCE);
  tree.children.push(Node.of(NODE.PLACE, PLACE.START));
  for (let at = 0; at < pattern.length; ) {
    const unit = pattern.charCodeAt(at);
    if (unit == 0x2a) at = parseStars(pattern, at, emitter, tree);
    else if (unit == 0x5b) at = parseClass(pattern, at, emitter, tree);
    else {
      if (unit == 0x5c && ++at == pattern.length) fail(pattern, "backslash at the end");
      const literal = pattern.charCodeAt(at++);
      if (literal > 255) fail(pattern, "character above U+00FF");
      emitter.addSet();
      if (unit == 0x3f) exclude(emitter, SLASH);
      else emitter.include(literal, literal);
      tree.children.push(Node.of(NODE.SET, emitter.last));
    }
  }
  tree.children.push(Node.of(NODE.PLACE, PLACE.END));
  return new Parsed(emitter, tree, 0);
}

function parseStars(pattern: string, start: i32, emitter: Emitter, tree: Node): i32 {
  let at = start;
  while (at < pattern.length && pattern.charCodeAt(at) == 0x2a) at++;
  if (at - start > 2) fail(pattern, "more than two stars");
  emitter.addSet();
  if (at - start == 1) {
    exclude(emitter, SLASH);
    tree.children.push(Node.repeat(Node.of(NODE.SET, emitter.last), 0, -1, false));
    return at;
  }
  const begins = start == 0 || pattern.charCodeAt(start - 1) == SLASH;
  if (!begins || at == pattern.length || pattern.charCodeAt(at) != SLASH) {
    emitter.invert();
    tree.children.push(Node.repeat(Node.of(NODE.SET, emitter.last), 0, -1, false));
    return at;
  }
  exclude(emitter, SLASH);
  const segment = new Node(NODE.SEQUENCE);
  segment.children.push(Node.repeat(Node.of(NODE.SET, emitter.last), 0, -1, false));
  emitter.addSet();
  emitter.include(SLASH, SLASH);
  segment.children.push(Node.of(NODE.SET, emitter.last));
  tree.children.push(Node.repeat(segment, 0, -1, false));
  return at + 1;
}

function parseClass(pattern: string, start: i32, emitter: Emitter, tree: Node): i32 {
  let at = start + 1;
  const inverted = at < pattern.length && (pattern.charCodeAt(at) == 0x21 || pattern.charCodeAt(at) == 0x5e);
  if (inverted) at++;
  emitter.addSet();
  const from = at;
  while (true) {
    if (at >= pattern.length) fail(pattern, "unclosed [");
    if (at > from && pattern.charCodeAt(at) == 0x5d) break;
    if (pattern.charCodeAt(at) == 0x5c) at++;
    const first = memberAt(pattern, at++);
    let last = first;
    if (at + 1 < pattern.length && pattern.charCodeAt(at) == 0x2d && pattern.charCodeAt(at + 1) != 0x5d) {
      at++;
      if (pattern.charCodeAt(at) == 0x5c) at++;
      last = memberAt(pattern, at++);
    }
    if (last < first) fail(pattern, "invalid range");
    emitter.include(first, last);
  }
  if (inverted) {
    emitter.include(SLASH, SLASH);
    emitter.invert();
  } else emitter.remove(SLASH);
  tree.children.push(Node.of(NODE.SET, emitter.last));
  return at + 1;
}

function memberAt(pattern: string, at: i32): i32 {
  if (at >= pattern.length) fail(pattern, "unclosed [");
  const unit = pattern.charCodeAt(at);
  if (unit > 255) fail(pattern, "character above U+00FF");
  return unit;
}

/** Adds all characters except this one to an empty set. */
function exclude(emitter: Emitter, unit: i32): void {
  emitter.include(unit, unit);
  emitter.invert();
}

function fail(pattern: string, what: string): void {
  throw new Error(`glob "${pattern}": ${what}`);
}
