import { Matcher } from "./matcher";
import { Emitter, NODE, Node, PLACE, Parsed } from "./pattern-tree";

const MOST_GROUPS: i32 = 9;
const MOST_REPEATS: i32 = 1000;
const MOST_DEPTH: i32 = 50;

/**
 * A regular expression. Make it at the top of the file or in `configure`; a mistake in it is an error there.
 *
 *     const version = new Regex("^/v([0-9]+)/");
 *     const match = version.exec(req.path);
 *     if (match) req.headers.set("x-version", match.group(1)!);
 *
 * It means what it means in JavaScript (without flags), as far as it is served:
 *
 * - characters; `.` (all but CR and LF); classes `[a-z]`, `[^a-z]`; `\d \w \s` and `\D \W \S`, of ASCII
 * - `\t \n \r \f \v \0 \xHH`, and any punctuation after a backslash
 * - `( )`, `(?: )`, `|`; `* + ? {2} {2,} {2,5}`, lazy with a `?` behind; at most 9 groups, 1000 repeats
 * - `^`, `$` (the ends of the text), `\b`, `\B`
 *
 * Not served, and refused: references to groups, looking ahead or behind, named groups, properties of Unicode, and
 * characters above U+007F (`\xHH` says those of a head). `]`, `{` and `}` that are meant want a backslash.
 * A group inside a repetition keeps what it matched last, also when a later turn did not pass it. A turn that may be
 * left out and may be empty, as in `(?:|a)?` or `(?:a*?)*`, takes the first way through; JavaScript looks for one that
 * is not empty. Both match the same texts, from the same place on.
 *
 * The time is linear in the text: no text can make an expression slow. `test` and `testBytes` make no object.
 */
// @ts-ignore: decorator
@final
export class Regex extends Matcher {
  /** `flags`: `i` takes letters of ASCII in either case; or none. */
  constructor(pattern: string, flags: string = "") {
    super(parseRegex(pattern, flags));
  }

  /** The first match in the text, or null. */
  exec(text: string): RegexMatch | null {
    const places = this.search(text);
    return places ? new RegexMatch(text, places) : null;
  }
}

/** Where a regular expression matched. */
// @ts-ignore: decorator
@final
export class RegexMatch {
  constructor(
    /** The text that was searched. */
    readonly text: string,
    private places: StaticArray<i32>,
  ) {}

  /** Where the match begins. */
  get start(): i32 {
    return this.places[0];
  }

  /** Where it ends. */
  get end(): i32 {
    return this.places[1];
  }

  /** What group `index` matched; 0 is the whole. Null when it took no part in the match, or is not there. */
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
    if (this.at < this.pattern.length) this.fail("a ) that closes nothing");
    return new Parsed(this.emitter, tree, this.groups);
  }

  private choice(): Node {
    if (++this.depth > MOST_DEPTH) this.fail("groups that lie too deep");
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
      if (!this.take(0x7d) || (most >= 0 && most < least)) this.fail("braces that are no {n}, {n,} or {n,m}");
    } else if (!this.take(0x2a)) return atom;
    if (atom.kind == NODE.PLACE) this.fail("a repetition of nothing");
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
        return this.made();
      case 0x5e:
        return Node.of(NODE.PLACE, PLACE.START);
      case 0x24:
        return Node.of(NODE.PLACE, PLACE.END);
      case 0x5c:
        if (this.take(0x62)) return Node.of(NODE.PLACE, PLACE.EDGE);
        if (this.take(0x42)) return Node.of(NODE.PLACE, PLACE.NO_EDGE);
        this.emitter.addSet();
        this.escape();
        return this.made();
      default:
        if (unit == 0x2a || unit == 0x2b || unit == 0x3f) this.fail("a repetition of nothing");
        if (unit == 0x5d || unit == 0x7b || unit == 0x7d || unit > 0x7e || unit < 0x20) this.fail("a character that wants a backslash");
        this.emitter.addSet();
        this.emitter.include(unit, unit);
        return this.made();
    }
  }

  /** The set made last, as a node. */
  private made(): Node {
    if (this.folds) this.emitter.foldCase();
    return Node.of(NODE.SET, this.emitter.last);
  }

  private group(): Node {
    let index = 0;
    if (this.take(0x3f)) {
      if (!this.take(0x3a)) this.fail("a group that is not served");
    } else {
      index = ++this.groups;
      if (index > MOST_GROUPS) this.fail(`more than ${MOST_GROUPS} groups`);
    }
    const tree = this.choice();
    if (!this.take(0x29)) this.fail("a ( that is not closed");
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
      if (first < 0 || last < first) this.fail("a range that is none");
      this.emitter.include(first, last);
    }
    if (!count) this.fail("an empty class");
    if (this.folds) this.emitter.foldCase();
    if (inverted) this.emitter.invert();
    return Node.of(NODE.SET, this.emitter.last);
  }

  /** A character of a class, or -1 when it was a set such as `\d`, which is in the class then. */
  private member(): i32 {
    const unit = this.next();
    if (unit == 0x5c) return this.escaped();
    if (unit == 0x5b || unit > 0x7e || unit < 0x20) this.fail("a character that wants a backslash");
    return unit;
  }

  private escape(): void {
    const unit = this.escaped();
    if (unit >= 0) this.emitter.include(unit, unit);
  }

  /** What stands behind a backslash: a character, or -1 for a set, which is added to the one made last. */
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
        if (this.peek() >= 0x30 && this.peek() <= 0x39) this.fail("an octal character");
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
    if (letter || unit > 0x7e || unit <= 0x20) this.fail("a backslash before what needs none");
    return unit;
  }

  private hex(): i32 {
    const unit = this.next();
    const lower = unit | 0x20;
    if (unit >= 0x30 && unit <= 0x39) return unit - 0x30;
    if (lower < 0x61 || lower > 0x66) this.fail("\\x without two digits");
    return lower - 0x57;
  }

  private number(): i32 {
    let value = -1;
    while (this.peek() >= 0x30 && this.peek() <= 0x39) {
      value = max(value, 0) * 10 + this.next() - 0x30;
      if (value > MOST_REPEATS) this.fail(`more than ${MOST_REPEATS} repeats`);
    }
    if (value < 0) this.fail("braces that are no {n}, {n,} or {n,m}");
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
    if (this.at >= this.pattern.length) this.fail("an end too soon");
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
