import { Matcher } from "./matcher";
import { Emitter, NODE, Node, PLACE, Parsed } from "./pattern-tree";

const MOST_GROUPS: i32 = 9;
const MOST_REPEATS: i32 = 1000;
const MOST_DEPTH: i32 = 50;

/**
 * A regular expression. Create it at the top of the file or in `configure`; throws if the pattern is invalid.
 *
 *     const version = new Regex("^/v([0-9]+)/");
 *     const match = version.exec(req.path);
 *     if (match) req.headers.set("x-version", match.group(1)!);
 *
 * Syntax and semantics are a subset of JavaScript (without flags):
 *
 * - characters; `.` (except CR and LF); classes `[a-z]`, `[^a-z]`; `\d \w \s` and `\D \W \S`, of ASCII
 * - `\t \n \r \f \v \0 \xHH`, and any punctuation after a backslash
 * - `( )`, `(?: )`, `|`; `* + ? {2} {2,} {2,5}`, lazy with `?`; at most 9 groups, 1000 repeats
 * - `^`, `$` (start and end of the text), `\b`, `\B`
 *
 * Not supported, and rejected: back references, lookaround, named groups, Unicode properties, and characters above U+007F
 * (use `\xHH` for bytes of a message head). Literal `]`, `{` and `}` must be escaped.
 *
 * Differences: a group in a repetition keeps its last match even if a later iteration does not match the group. An optional
 * iteration that can be empty, as in `(?:|a)?` or `(?:a*?)*`, takes the first alternative, where JavaScript prefers one that
 * is not empty; both match the same texts from the same position on.
 *
 * Matching takes time linear in the text, for every text and pattern. `test` and `testBytes` allocate nothing.
 */
// @ts-ignore: decorator
@final
export class Regex extends Matcher {
  /** `flags`: `i` to ignore the case of ASCII letters, or empty. */
  constructor(pattern: string, flags: string = "") {
    super(parseRegex(pattern, flags));
  }

  /** The first match in the text, or null. */
  exec(text: string): RegexMatch | null {
    const places = this.search(text);
    return places ? new RegexMatch(text, places) : null;
  }
}

/** A match. */
// @ts-ignore: decorator
@final
export class RegexMatch {
  constructor(
    /** The text that was searched. */
    readonly text: string,
    private places: StaticArray<i32>,
  ) {}

  /** Start of the match. */
  get start(): i32 {
    return this.places[0];
  }

  /** End of the match. */
  get end(): i32 {
    return this.places[1];
  }

  /** The text of group `index`; 0 is the whole match. Null if the group did not participate or does not exist. */
  group(index: i32): string | null {
    if (index < 0 || 2 * index >= this.places.length) return null;
    const from = this.places[2 * index];
    const to = this.places[2 * index + 1];
    return from < 0 || to < 0 ? null : this.text.substring(from, to);
  }
}

function parseRegex(pattern: string, flags: string): Parsed {
  if (flags != "" && flags != "i") throw new Error(`regular expression flags "${flags}": expected "i" or none`);
  return new Parser(pattern, flags == "i").parse();
}

class Parser {
  private at: i32 = 0;
  private depth: i32 = 0;
  private groups: i32 = 0;
  private emitter: Emitter;

  constructor(
    private pattern: string,
    private folds: bool,
  ) {
    this.emitter = new Emitter(pattern);
  }

  parse(): Parsed {
    const tree = this.choice();
    if (this.at < this.pattern.length) this.fail("unmatched )");
    return new Parsed(this.emitter, tree, this.groups);
  }

  private choice(): Node {
    if (++this.depth > MOST_DEPTH) this.fail("groups are nested too deeply");
    const node = new Node(NODE.CHOICE);
    node.children.push(this.sequence());
    while (this.take(0x7c)) node.children.push(this.sequence());
    this.depth--;
    return node.children.length == 1 ? node.children[0] : node;
  }

  private sequence(): Node {
    const node = new Node(NODE.SEQUENCE);
    while (this.at < this.pattern.length && this.peek() != 0x7c && this.peek() != 0x29) node.children.push(this.term());
    return node;
  }

  private term(): Node {
    const atom = this.atom();
    let least = 0;
    let most = -1;
    if (this.take(0x2b)) least = 1;
    else if (this.take(0x3f)) most = 1;
    else if (this.take(0x7b)) {
      least = this.number();
      most = least;
      if (this.take(0x2c)) most = this.peek() == 0x7d ? -1 : this.number();
      if (!this.take(0x7d) || (most >= 0 && most < least)) this.fail("invalid repetition, expected {n}, {n,} or {n,m}");
    } else if (!this.take(0x2a)) return atom;
    if (atom.kind == NODE.PLACE) this.fail("nothing to repeat");
    return Node.repeat(atom, least, most, this.take(0x3f));
  }

  private atom(): Node {
    const unit = this.next();
    switch (unit) {
      case 0x28:
        return this.group();
      case 0x5b:
        return this.klass();
      case 0x2e:
        this.emitter.addSet();
        this.emitter.include(0x0a, 0x0a);
        this.emitter.include(0x0d, 0x0d);
        this.emitter.invert();
        return this.setNode();
      case 0x5e:
        return Node.of(NODE.PLACE, PLACE.START);
      case 0x24:
        return Node.of(NODE.PLACE, PLACE.END);
      case 0x5c:
        if (this.take(0x62)) return Node.of(NODE.PLACE, PLACE.EDGE);
        if (this.take(0x42)) return Node.of(NODE.PLACE, PLACE.NO_EDGE);
        this.emitter.addSet();
        this.escape();
        return this.setNode();
      default:
        if (unit == 0x2a || unit == 0x2b || unit == 0x3f) this.fail("nothing to repeat");
        if (unit == 0x5d || unit == 0x7b || unit == 0x7d || unit > 0x7e || unit < 0x20) this.fail("character must be escaped by a backslash");
        this.emitter.addSet();
        this.emitter.include(unit, unit);
        return this.setNode();
    }
  }

  /** The current set as a node. */
  private setNode(): Node {
    if (this.folds) this.emitter.foldCase();
    return Node.of(NODE.SET, this.emitter.last);
  }

  private group(): Node {
    let index = 0;
    if (this.take(0x3f)) {
      if (!this.take(0x3a)) this.fail("unsupported group syntax");
    } else {
      index = ++this.groups;
      if (index > MOST_GROUPS) this.fail(`more than ${MOST_GROUPS} groups`);
    }
    const tree = this.choice();
    if (!this.take(0x29)) this.fail("unclosed (");
    if (!index) return tree.kind == NODE.PLACE ? wrap(tree) : tree;
    const node = Node.of(NODE.GROUP, index);
    node.children.push(tree);
    return node;
  }

  private klass(): Node {
    this.emitter.addSet();
    const inverted = this.take(0x5e);
    let count = 0;
    while (!this.take(0x5d)) {
      const first = this.member();
      count++;
      if (this.peek() != 0x2d || this.peekSecond() == 0x5d) {
        if (first >= 0) this.emitter.include(first, first);
        continue;
      }
      this.at++;
      const last = this.member();
      if (first < 0 || last < first) this.fail("invalid range");
      this.emitter.include(first, last);
    }
    if (!count) this.fail("empty class");
    if (this.folds) this.emitter.foldCase();
    if (inverted) this.emitter.invert();
    return Node.of(NODE.SET, this.emitter.last);
  }

  /** The next character of a class; -1 for a set such as `\d`, which is added to the class. */
  private member(): i32 {
    const unit = this.next();
    if (unit == 0x5c) return this.escaped();
    if (unit == 0x5b || unit > 0x7e || unit < 0x20) this.fail("character must be escaped by a backslash");
    return unit;
  }

  private escape(): void {
    const unit = this.escaped();
    if (unit >= 0) this.emitter.include(unit, unit);
  }

  /** The character after a backslash; -1 for a set, which is added to the current set. */
  private escaped(): i32 {
    const unit = this.next();
    switch (unit) {
      case 0x74:
        return 0x09;
      case 0x6e:
        return 0x0a;
      case 0x76:
        return 0x0b;
      case 0x66:
        return 0x0c;
      case 0x72:
        return 0x0d;
      case 0x30:
        if (this.peek() >= 0x30 && this.peek() <= 0x39) this.fail("octal escapes are not supported");
        return 0;
      case 0x78:
        return (this.hex() << 4) | this.hex();
      case 0x64:
      case 0x44:
      case 0x77:
      case 0x57:
      case 0x73:
      case 0x53:
        this.emitter.includeSet(unit | 0x20, (unit & 0x20) == 0);
        return -1;
    }
    const lower = unit | 0x20;
    const letter = (lower >= 0x61 && lower <= 0x7a) || (unit >= 0x30 && unit <= 0x39) || unit == 0x5f;
    if (letter || unit > 0x7e || unit <= 0x20) this.fail("invalid escape");
    return unit;
  }

  private hex(): i32 {
    const unit = this.next();
    const lower = unit | 0x20;
    if (unit >= 0x30 && unit <= 0x39) return unit - 0x30;
    if (lower < 0x61 || lower > 0x66) this.fail("\\x requires two hexadecimal digits");
    return lower - 0x57;
  }

  private number(): i32 {
    let value = -1;
    while (this.peek() >= 0x30 && this.peek() <= 0x39) {
      value = max(value, 0) * 10 + this.next() - 0x30;
      if (value > MOST_REPEATS) this.fail(`more than ${MOST_REPEATS} repeats`);
    }
    if (value < 0) this.fail("invalid repetition, expected {n}, {n,} or {n,m}");
    return value;
  }

  /** The next character, or -1 at the end. */
  private peek(): i32 {
    return this.at < this.pattern.length ? this.pattern.charCodeAt(this.at) : -1;
  }

  private peekSecond(): i32 {
    return this.at + 1 < this.pattern.length ? this.pattern.charCodeAt(this.at + 1) : -1;
  }

  private next(): i32 {
    if (this.at >= this.pattern.length) this.fail("unexpected end");
    return this.pattern.charCodeAt(this.at++);
  }

  private take(unit: i32): bool {
    if (this.peek() != unit) return false;
    this.at++;
    return true;
  }

  private fail(what: string): void {
    throw new Error(`regular expression "${this.pattern}": ${what}, at character ${this.at}`);
  }
}

function wrap(tree: Node): Node {
  const node = new Node(NODE.SEQUENCE);
  node.children.push(tree);
  return node;
}
