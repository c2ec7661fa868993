// The arena: memory of one call, given back whole when the call ends.
//
//   heap base ── kept: start-up code, configure, per-endpoint state ── mark ── this call's objects ── top ── zeros
//
// Outside a call everything that is made is kept (mark = NONE). A call sets the mark to the top, and at its end wipes
// what lies above and moves the top back. Three rules hold this together:
// - Memory from the top on is always zero, so a new object never shows the bytes of an earlier request.
// - A block below the mark never grows in place: its new part would be wiped under its owner.
// - A pointer to above the mark may not outlive the call. Each store of a reference into an object passes `__link`,
//   and `__visit_globals` looks at every global when the call ends; both stop the guest with the rule's name.

const NONE: usize = usize.MAX_VALUE;
const ALIGN_MASK: usize = 15;
/** In front of each object: block size (4), two unused words (8), class id (4), size (4). The compiler fixes this. */
const BLOCK: usize = 4;
const OBJECT: usize = 16;
const MAX_SIZE: usize = 1 << 30;
/** The first of the unused words, in objects that a collector must look through. */
const TRANSPARENT: u32 = 3;

// @ts-ignore: decorator
@lazy let top: usize = ((__heap_base + BLOCK + ALIGN_MASK) & ~ALIGN_MASK) - BLOCK;
// @ts-ignore: decorator
@lazy let mark: usize = NONE;

/** From here on what is made belongs to the call. */
// @ts-ignore: decorator
@global @unsafe
function __arena_enter(): void {
  mark = top;
}

/** The call is over: nothing may point to what it made, and that memory is wiped. `place`: a text that says whose call. */
// @ts-ignore: decorator
@global @unsafe
function __arena_leave(place: usize): void {
  if (top != mark) {
    __visit_globals(<u32>place);
    memory.fill(mark, 0, top - mark);
    top = mark;
  }
  mark = NONE;
}

function fail(message: string, place: usize = 0): void {
  // `abort` is the SDK's (abort.ts), which takes addresses.
  abort(changetype<usize>(message), place, 0, 0);
}

function escaped(place: usize = 0): void {
  fail("an object made in this call was kept; use StaticArray, host key-value, or `runtime: gc`", place);
}

function reserve(end: usize): void {
  const have = <usize>memory.size() << 16;
  if (end > have) {
    const need = <i32>((end - have + 0xffff) >>> 16);
    // Half again as much where the limit allows it, so that many small steps do not each grow the memory.
    if (memory.grow(max(need, memory.size() >> 1)) < 0 && memory.grow(need) < 0) fail("out of memory");
  }
  top = end;
}

// @ts-ignore: decorator
@inline
function payload(size: usize): usize {
  return ((size + BLOCK + ALIGN_MASK) & ~ALIGN_MASK) - BLOCK;
}

// @ts-ignore: decorator
@global @unsafe
function __alloc(size: usize): usize {
  if (size > MAX_SIZE) fail("an object is too large");
  const block = top;
  const room = payload(size);
  reserve(block + BLOCK + room);
  store<usize>(block, room);
  return block + BLOCK;
}

// @ts-ignore: decorator
@global @unsafe
function __realloc(ptr: usize, size: usize): usize {
  const room = load<usize>(ptr - 4);
  // A kept block is never touched by a call, whether or not it has room: what a call does must not depend on slack.
  if (mark == NONE || ptr >= mark) {
    if (size <= room) return ptr;
    if (ptr + room == top) {
      if (size > MAX_SIZE) fail("an object is too large");
      const grown = payload(size);
      reserve(ptr + grown);
      store<usize>(ptr - 4, grown);
      return ptr;
    }
  }
  const copy = __alloc(size);
  memory.copy(copy, ptr, min(size, room));
  return copy;
}

// @ts-ignore: decorator
@global @unsafe
function __free(ptr: usize): void {}

// @ts-ignore: decorator
@global @unsafe
function __new(size: usize, id: u32): usize {
  if (size > MAX_SIZE) fail("an object is too large");
  const ptr = __alloc(OBJECT + size);
  store<u32>(ptr, id, 8);
  store<u32>(ptr, <u32>size, 12);
  return ptr + OBJECT;
}

// @ts-ignore: decorator
@global @unsafe
function __renew(old: usize, size: usize): usize {
  const before = <usize>load<u32>(old - 4);
  if (size > MAX_SIZE) fail("an object is too large");
  const ptr = __realloc(old - OBJECT, OBJECT + size) + OBJECT;
  // What a block sheds is wiped, so that its slack is zero when it grows again.
  if (size < before && ptr == old) memory.fill(ptr + size, 0, before - size);
  store<u32>(ptr - 4, <u32>size);
  return ptr;
}

// @ts-ignore: decorator
@global @unsafe
function __link(parent: usize, child: usize, expectMultiple: bool): void {
  if (child >= mark && parent < mark && !isTemplate(parent)) escaped();
}

/** A template literal's parts lie in an array that the compiler marks so; each use fills it before it reads it. */
function isTemplate(object: usize): bool {
  return object < __heap_base && load<u32>(object - OBJECT) == TRANSPARENT;
}

// @ts-ignore: decorator
@global @unsafe
function __visit(ptr: usize, cookie: u32): void {
  if (ptr >= mark) escaped(<usize>cookie);
}

// @ts-ignore: decorator
@global @unsafe
function __pin(ptr: usize): usize {
  return ptr;
}

// @ts-ignore: decorator
@global @unsafe
function __unpin(ptr: usize): void {}

// @ts-ignore: decorator
@global @unsafe
function __collect(): void {}
