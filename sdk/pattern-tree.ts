// The syntax tree of regular expressions and globs, and the compiler to programs for `Matcher`.

/** Kinds of nodes. */
export namespace NODE {
  export const EMPTY: i32 = 0;
  /** One character of set `value`. */
  export const SET: i32 = 1;
  /** The children in sequence. */
  export const SEQUENCE: i32 = 2;
  /** One of the children; earlier ones have priority. */
  export const CHOICE: i32 = 3;
  /** The child `least` to `most` times (-1: unlimited); as often as possible, or as rarely as possible if `lazy`. */
  export const REPEAT: i32 = 4;
  /** The child, captured as group `value`. */
  export const GROUP: i32 = 5;
  /** An assertion: `value` is one of PLACE. */
  export const PLACE: i32 = 6;
}

/** Assertions: start, end, word boundary, no word boundary. */
export namespace PLACE {
  export const START: i32 = 0;
  export const END: i32 = 1;
  export const EDGE: i32 = 2;
  export const NO_EDGE: i32 = 3;
}

/** Instructions of a program: an operation and two operands (x, y), one word each. */
export namespace OP {
  /** Consumes one character of set x. */
  export const SET: i32 = 0;
  /** Continues at x, and with lower priority at y. */
  export const SPLIT: i32 = 1;
  export const JUMP: i32 = 2;
  /** Saves the position in slot x. */
  export const SAVE: i32 = 3;
  export const PLACE: i32 = 4;
  export const MATCH: i32 = 5;
}

/** Words per instruction. */
export const WIDTH: i32 = 3;
/** Words per set: a bit for each of U+0000 to U+00FF, and a word for all characters above. */
export const SET_WORDS: i32 = 5;
/** Maximum number of instructions; limits the cost of one step. */
const MAX_INSTRUCTIONS: i32 = 2000;

// @ts-ignore: decorator
@final
export class Node {
  children: Node[] = [];
  value: i32 = 0;
  least: i32 = 0;
  most: i32 = 0;
  lazy: bool = false;

  constructor(readonly kind: i32) {}

  static of(kind: i32, value: i32): Node {
    const node = new Node(kind);
    node.value = value;
    return node;
  }

  static repeat(child: Node, least: i32, most: i32, lazy: bool): Node {
    const node = new Node(NODE.REPEAT);
    node.children.push(child);
    node.least = least;
    node.most = most;
    node.lazy = lazy;
    return node;
  }
}

/** A parsed pattern. */
// @ts-ignore: decorator
@final
export class Parsed {
  constructor(
    /** Contains the sets; the program is emitted later. */
    readonly emitter: Emitter,
    readonly tree: Node,
    readonly groups: i32,
  ) {}
}

/** Compiles a tree to a program. `what` is the pattern, for messages. */
// @ts-ignore: decorator
@final
export class Emitter {
  code: i32[] = [];
  sets: u64[] = [];

  constructor(private what: string) {}

  /** Creates an empty set; returns its number. */
  addSet(): i32 {
    for (let i = 0; i < SET_WORDS; i++) this.sets.push(0);
    return this.last;
  }

  /** Number of the current set, which was created last. */
  get last(): i32 {
    return this.sets.length / SET_WORDS - 1;
  }

  /** Adds the characters from `first` to `last` to the current set. */
  include(first: i32, last: i32): void {
    const base = this.sets.length - SET_WORDS;
    for (let unit = first; unit <= last; unit++) this.sets[base + (unit >> 6)] |= (<u64>1) << <u64>(unit & 63);
  }

  /** Adds the ASCII digits (`d`), word characters (`w`) or white space (`s`), or all other characters. */
  includeSet(letter: i32, others: bool): void {
    const base = this.sets.length - SET_WORDS;
    const low: u64 = letter == 0x73 ? 0x100003e00 : 0x03ff000000000000;
    const high: u64 = letter == 0x77 ? 0x07fffffe87fffffe : 0;
    this.sets[base] |= others ? ~low : low;
    this.sets[base + 1] |= others ? ~high : high;
    if (!others) return;
    for (let i = 2; i < SET_WORDS; i++) this.sets[base + i] = i < 4 ? u64.MAX_VALUE : 1;
  }

  /** Removes a character from the current set. */
  remove(unit: i32): void {
    this.sets[this.sets.length - SET_WORDS + (unit >> 6)] &= ~((<u64>1) << <u64>(unit & 63));
  }

  /** Inverts the current set. */
  invert(): void {
    const base = this.sets.length - SET_WORDS;
    for (let i = 0; i < 4; i++) this.sets[base + i] = ~this.sets[base + i];
    this.sets[base + 4] ^= 1;
  }

  /** Adds the other case of each letter to the current set. */
  foldCase(): void {
    const base = this.sets.length - SET_WORDS;
    // A-Z and a-z are bits 1 to 26 of the two halves of the second word.
    const letters: u64 = this.sets[base + 1] & 0x07fffffe07fffffe;
    this.sets[base + 1] |= (letters << 32) | (letters >> 32);
  }

  emit(node: Node): void {
    const children = node.children;
    if (node.kind == NODE.SET) this.put(OP.SET, node.value, 0);
    else if (node.kind == NODE.PLACE) this.put(OP.PLACE, node.value, 0);
    else if (node.kind == NODE.SEQUENCE) for (let i = 0; i < children.length; i++) this.emit(children[i]);
    else if (node.kind == NODE.CHOICE) this.emitChoice(children);
    else if (node.kind == NODE.REPEAT) this.emitRepeat(node);
    else if (node.kind == NODE.GROUP) {
      this.put(OP.SAVE, 2 * node.value, 0);
      this.emit(children[0]);
      this.put(OP.SAVE, 2 * node.value + 1, 0);
    }
  }

  put(operation: i32, x: i32, y: i32): i32 {
    const at = this.code.length / WIDTH;
    if (at >= MAX_INSTRUCTIONS) throw new Error(`pattern "${this.what}" is too large: more than ${MAX_INSTRUCTIONS} instructions`);
    this.code.push(operation);
    this.code.push(x);
    this.code.push(y);
    return at;
  }

  private get here(): i32 {
    return this.code.length / WIDTH;
  }

  private emitChoice(children: Node[]): void {
    const jumps: i32[] = [];
    for (let i = 0; i < children.length; i++) {
      const last = i == children.length - 1;
      const split = last ? -1 : this.put(OP.SPLIT, this.here + 1, 0);
      this.emit(children[i]);
      if (last) break;
      jumps.push(this.put(OP.JUMP, 0, 0));
      this.code[WIDTH * split + 2] = this.here;
    }
    for (let i = 0; i < jumps.length; i++) this.code[WIDTH * jumps[i] + 1] = this.here;
  }

  private emitRepeat(node: Node): void {
    const child = node.children[0];
    for (let i = 0; i < node.least; i++) this.emit(child);
    const splits: i32[] = [];
    if (node.most < 0) {
      const split = this.put(OP.SPLIT, 0, 0);
      splits.push(split);
      this.emit(child);
      this.put(OP.JUMP, split, 0);
    } else {
      for (let i = node.least; i < node.most; i++) {
        splits.push(this.put(OP.SPLIT, 0, 0));
        this.emit(child);
      }
    }
    // Greedy: the child has priority; lazy: the continuation has.
    for (let i = 0; i < splits.length; i++) {
      const into = splits[i] + 1;
      this.code[WIDTH * splits[i] + 1] = node.lazy ? this.here : into;
      this.code[WIDTH * splits[i] + 2] = node.lazy ? into : this.here;
    }
  }
}
