import { Bytes } from "./binary";
import { OP, PLACE, Parsed, SET_WORDS, WIDTH } from "./pattern-tree";

/**
 * Base of `Regex` and `Glob`: a compiled pattern, run as a Pike virtual machine. It follows all alternatives in parallel,
 * without backtracking: the time is at most proportional to the length of the text times that of the pattern. A match
 * allocates nothing.
 */
export abstract class Matcher {
  private code: StaticArray<i32>;
  private sets: StaticArray<u64>;
  /** Characters with which a match can start, unless it can be empty. */
  private first: StaticArray<u64> = new StaticArray<u64>(SET_WORDS);
  private maybeEmpty: bool = false;
  private anchored: bool;
  /** Number of slots: start and end of each group and of the whole match. */
  private slots: i32;

  // Working memory, allocated outside of the arena: instructions (threads) at the current and the next character, their
  // saved positions, and the last step that reached each instruction.
  private current: StaticArray<i32>;
  private upcoming: StaticArray<i32>;
  private currentSaved: StaticArray<i32>;
  private nextSaved: StaticArray<i32>;
  private reached: StaticArray<i32>;
  private pending: StaticArray<i32>;
  private saved: StaticArray<i32>;
  private found: StaticArray<i32>;
  private currentCount: i32 = 0;
  private nextCount: i32 = 0;
  private step: i32 = 0;

  // The current text.
  private from: usize = 0;
  private length: i32 = 0;
  private wide: bool = false;

  constructor(parsed: Parsed) {
    const emitter = parsed.emitter;
    emitter.put(OP.SAVE, 0, 0);
    emitter.emit(parsed.tree);
    emitter.put(OP.SAVE, 1, 0);
    emitter.put(OP.MATCH, 0, 0);
    const size = emitter.code.length / WIDTH;
    const slots = 2 * parsed.groups + 2;
    this.slots = slots;
    this.code = StaticArray.fromArray(emitter.code);
    this.sets = StaticArray.fromArray(emitter.sets);
    this.anchored = emitter.code[WIDTH] == OP.PLACE && emitter.code[WIDTH + 1] == PLACE.START;
    this.current = new StaticArray<i32>(size);
    this.upcoming = new StaticArray<i32>(size);
    this.currentSaved = new StaticArray<i32>(size * slots);
    this.nextSaved = new StaticArray<i32>(size * slots);
    this.reached = new StaticArray<i32>(size);
    this.pending = new StaticArray<i32>(4 * size + 4);
    this.saved = new StaticArray<i32>(slots);
    this.found = new StaticArray<i32>(slots);
    this.findFirst();
  }

  /** Whether the text contains a match. */
  test(text: string): bool {
    return this.run(changetype<usize>(text), text.length, true, false);
  }

  /** Whether the bytes contain a match; each byte is a character. */
  testBytes(bytes: Bytes): bool {
    return this.run(changetype<usize>(bytes), bytes.length, false, false);
  }

  /** As `testBytes`, for bytes at an address. */
  testAt(from: usize, length: i32): bool {
    return this.run(from, length, false, false);
  }

  /** Positions of the first match and its groups: start and end of each, -1 for a group that did not participate. */
  protected search(text: string): StaticArray<i32> | null {
    if (!this.run(changetype<usize>(text), text.length, true, true)) return null;
    const places = new StaticArray<i32>(this.slots);
    copySlots(places, 0, this.found, 0, this.slots);
    return places;
  }

  /** Computes `first` and `maybeEmpty`. */
  private findFirst(): void {
    const size = this.reached.length;
    let left = 0;
    this.pending[left++] = 0;
    const seen = new StaticArray<bool>(size);
    while (left) {
      const at = this.pending[--left];
      if (seen[at]) continue;
      seen[at] = true;
      const op = this.code[WIDTH * at];
      const x = this.code[WIDTH * at + 1];
      if (op == OP.MATCH) this.maybeEmpty = true;
      else if (op == OP.SET) for (let i = 0; i < SET_WORDS; i++) this.first[i] |= this.sets[SET_WORDS * x + i];
      else if (op == OP.JUMP) this.pending[left++] = x;
      else {
        this.pending[left++] = op == OP.SPLIT ? x : at + 1;
        if (op == OP.SPLIT) this.pending[left++] = this.code[WIDTH * at + 2];
      }
    }
  }

  private run(from: usize, length: i32, wide: bool, saving: bool): bool {
    this.from = from;
    this.length = length;
    this.wide = wide;
    this.currentCount = 0;
    // `step` increases across runs, so that `reached` need not be cleared; it is reset before it overflows.
    if (this.step > i32.MAX_VALUE - length - 2) this.resetSteps();
    this.step++;
    let matched = false;
    for (let at = 0; ; at++) {
      if (!this.currentCount) {
        if (matched || (this.anchored && at > 0)) break;
        if (!this.maybeEmpty && !this.anchored && at < length && !has(this.first, 0, this.unit(at))) {
          while (++at < length && !has(this.first, 0, this.unit(at))) {}
          // A new step, since assertions such as `\b` depend on the position.
          this.step++;
        }
      }
      // A match that starts later has a lower priority than all that have started.
      if (!matched) {
        if (saving) for (let i = 0; i < this.slots; i++) unchecked((this.saved[i] = -1));
        this.currentCount = this.reach(0, at, this.current, this.currentSaved, this.currentCount, saving);
      }
      this.step++;
      this.nextCount = 0;
      const unit = at < length ? this.unit(at) : -1;
      for (let i = 0; i < this.currentCount; i++) {
        const pc = unchecked(this.current[i]);
        if (unchecked(this.code[WIDTH * pc]) == OP.MATCH) {
          if (!saving) return true;
          matched = true;
          copySlots(this.found, 0, this.currentSaved, i * this.slots, this.slots);
          // The remaining instructions have a lower priority.
          break;
        }
        if (unit < 0 || !has(this.sets, SET_WORDS * unchecked(this.code[WIDTH * pc + 1]), unit)) continue;
        if (saving) copySlots(this.saved, 0, this.currentSaved, i * this.slots, this.slots);
        this.nextCount = this.reach(pc + 1, at + 1, this.upcoming, this.nextSaved, this.nextCount, saving);
      }
      this.swap();
      if (at >= length) break;
    }
    return matched;
  }

  /** Adds the instructions that are reachable from `pc` without consuming a character, in order of priority. */
  private reach(pc: i32, at: i32, list: StaticArray<i32>, listSaved: StaticArray<i32>, count: i32, saving: bool): i32 {
    const pending = this.pending;
    let left = 0;
    let next = pc;
    while (true) {
      if (next >= 0 && unchecked(this.reached[next]) != this.step) {
        unchecked((this.reached[next] = this.step));
        const op = unchecked(this.code[WIDTH * next]);
        const x = unchecked(this.code[WIDTH * next + 1]);
        if (op == OP.JUMP) {
          next = x;
          continue;
        }
        if (op == OP.SPLIT) {
          unchecked((pending[left] = unchecked(this.code[WIDTH * next + 2])));
          left += 2;
          next = x;
          continue;
        }
        if (op == OP.SAVE || (op == OP.PLACE && this.isAt(x, at))) {
          if (op == OP.SAVE && saving) {
            // The old position is restored for alternatives that are tried after this one.
            unchecked((pending[left] = -1 - x));
            unchecked((pending[left + 1] = this.saved[x]));
            left += 2;
            unchecked((this.saved[x] = at));
          }
          next++;
          continue;
        }
        if (op != OP.PLACE) {
          unchecked((list[count] = next));
          if (saving) copySlots(listSaved, count * this.slots, this.saved, 0, this.slots);
          count++;
        }
      }
      next = -1;
      while (left && next < 0) {
        left -= 2;
        next = unchecked(pending[left]);
        if (next < 0) unchecked((this.saved[-1 - next] = pending[left + 1]));
      }
      if (next < 0) return count;
    }
  }

  private isAt(place: i32, at: i32): bool {
    if (place == PLACE.START) return at == 0;
    if (place == PLACE.END) return at == this.length;
    const edge = (at > 0 && isWord(this.unit(at - 1))) != (at < this.length && isWord(this.unit(at)));
    return edge == (place == PLACE.EDGE);
  }

  // @ts-ignore: decorator
  @inline
  private unit(at: i32): i32 {
    return this.wide ? <i32>load<u16>(this.from + (<usize>at << 1)) : <i32>load<u8>(this.from + at);
  }

  private swap(): void {
    const list = this.current;
    this.current = this.upcoming;
    this.upcoming = list;
    const saved = this.currentSaved;
    this.currentSaved = this.nextSaved;
    this.nextSaved = saved;
    this.currentCount = this.nextCount;
  }

  private resetSteps(): void {
    for (let i = 0; i < this.reached.length; i++) this.reached[i] = 0;
    this.step = 0;
  }
}

// @ts-ignore: decorator
@inline
function has(sets: StaticArray<u64>, base: i32, unit: i32): bool {
  if (unit > 255) return unchecked(sets[base + 4]) != 0;
  return ((unchecked(sets[base + (unit >> 6)]) >> <u64>(unit & 63)) & 1) != 0;
}

// @ts-ignore: decorator
@inline
function copySlots(to: StaticArray<i32>, at: i32, from: StaticArray<i32>, start: i32, count: i32): void {
  for (let i = 0; i < count; i++) unchecked((to[at + i] = from[start + i]));
}

function isWord(unit: i32): bool {
  const lower = unit | 32;
  return (lower >= 97 && lower <= 122) || (unit >= 48 && unit <= 57) || unit == 0x5f;
}
