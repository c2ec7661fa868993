import { Matcher } from "./matcher";
import { Emitter, NODE, Node, PLACE, Parsed } from "./pattern-tree";

const SLASH: i32 = 0x2f;

/**
 * A glob, for paths: it matches a text as a whole. Make it at the top of the file or in `configure`; a mistake in it
 * is an error there.
 *
 * - `?` is one character but `/`
 * - `*` is any number of characters but `/`, also none
 * - `**` as a whole segment is any number of whole segments, also none: `/a/**` + `/b` matches `/a/b` and `/a/x/y/b`.
 *   At the end it is the rest, whatever it is: `/a/**` matches `/a/`, `/a/b` and `/a/b/c`, but not `/a`
 * - `**` within a segment (`a**`, `**.js`) is any number of any characters
 * - `[abc]`, `[a-z]`, `[!a-z]` is one character of these, or none of these; never `/`
 * - a backslash before a character takes it as it is; everything else is itself, in this case
 *
 * Braces mean nothing: two globs do. The time is linear in the text, and a match makes no object.
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
      if (unit == 0x5c && ++at == pattern.length) fail(pattern, "a backslash at the end");
      const literal = pattern.charCodeAt(at++);
      if (literal > 255) fail(pattern, "a character above U+00FF");
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
  if (at - start > 2) fail(pattern, "three stars");
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
    if (at >= pattern.length) fail(pattern, "a [ that is not closed");
    if (at > from && pattern.charCodeAt(at) == 0x5d) break;
    if (pattern.charCodeAt(at) == 0x5c) at++;
    const first = memberAt(pattern, at++);
    let last = first;
    if (at + 1 < pattern.length && pattern.charCodeAt(at) == 0x2d && pattern.charCodeAt(at + 1) != 0x5d) {
      at++;
      if (pattern.charCodeAt(at) == 0x5c) at++;
      last = memberAt(pattern, at++);
    }
    if (last < first) fail(pattern, "a range that is none");
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
  if (at >= pattern.length) fail(pattern, "a [ that is not closed");
  const unit = pattern.charCodeAt(at);
  if (unit > 255) fail(pattern, "a character above U+00FF");
  return unit;
}

/** Makes of the empty set all but this character. */
function exclude(emitter: Emitter, unit: i32): void {
  emitter.include(unit, unit);
  emitter.invert();
}

function fail(pattern: string, what: string): void {
  throw new Error(`glob "${pattern}": ${what}`);
}
