// Arena allocator: all memory that a hook call allocates is freed at once when the call ends.
//
//   heap base ── persistent: start-up code, configure, per-endpoint state ── mark ── objects of the call ── top ── zeros
//
// Outside of a call allocations are persistent (mark = NONE). A call sets the mark to the top; at its end the memory above
// the mark is zeroed and the top is moved back. Invariants:
// - Memory from the top on is zero, so a new object never contains bytes of an earlier request.
// - A block below the mark never grows in place: its new part would be zeroed at the end of the call.
// - No pointer to an object above the mark outlives the call. Stores of references into objects call `__link`, and
//   `__visit_globals` visits all globals when the call ends; both abort the guest.

const NONE: usize = usize.MAX_VALUE;
const ALIGN_MASK: usize = 15;
/** Header of each object, as defined by the compiler: block size (4), two unused words (8), class id (4), size (4). */
const BLOCK: usize = 4;
const OBJECT: usize = 16;
const MAX_SIZE: usize = 1 << 30;
/** Value of the first unused word in objects that a garbage collector must scan. */
const TRANSPARENT: u32 = 3;

// @ts-ignore: decorator
@lazy let top: usize = ((__heap_base + BLOCK + ALIGN_MASK) & ~ALIGN_MASK) - BLOCK;
// @ts-ignore: decorator
@lazy let mark: usize = NONE;

/** Starts a call: further objects are freed at its end. */
// @ts-ignore: decorator
@global @unsafe
function __arena_enter(): void {
  mark = top;
}

/** Ends a call: checks that nothing refers to its objects, and zeroes them. `place`: source position of the hook, for errors. */
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
  // `abort` of the SDK (abort.ts) takes addresses.
  abort(changetype<usize>(message), place, 0, 0);
}

function escaped(place: usize = 0): void {
  fail("an object created in this call was kept; use StaticArray, the key-value store, or `runtime: gc`", place);
}

function reserve(end: usize): void {
  const have = <usize>memory.size() << 16;
  if (end > have) {
    const need = <i32>((end - have + 0xffff) >>> 16);
    // Grows by half if the limit allows it, so that small allocations do not each grow the memory.
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
  if (size > MAX_SIZE) fail("object too large");
  const block = top;
  const capacity = payload(size);
  reserve(block + BLOCK + capacity);
  store<usize>(block, capacity);
  return block + BLOCK;
}

// @ts-ignore: decorator
@global @unsafe
function __realloc(ptr: usize, size: usize): usize {
  const capacity = load<usize>(ptr - 4);
  // A call never grows a persistent block, even within its capacity: behaviour must not depend on unused capacity.
  if (mark == NONE || ptr >= mark) {
    if (size <= capacity) return ptr;
    if (ptr + capacity == top) {
      if (size > MAX_SIZE) fail("object too large");
      const grown = payload(size);
      reserve(ptr + grown);
      store<usize>(ptr - 4, grown);
      return ptr;
    }
  }
  const copy = __alloc(size);
  memory.copy(copy, ptr, min(size, capacity));
  return copy;
}

// @ts-ignore: decorator
@global @unsafe
function __free(ptr: usize): void {}

// @ts-ignore: decorator
@global @unsafe
function __new(size: usize, id: u32): usize {
  if (size > MAX_SIZE) fail("object too large");
  const ptr = __alloc(OBJECT + size);
  store<u32>(ptr, id, 8);
  store<u32>(ptr, <u32>size, 12);
  return ptr + OBJECT;
}

// @ts-ignore: decorator
@global @unsafe
function __renew(old: usize, size: usize): usize {
  const before = <usize>load<u32>(old - 4);
  if (size > MAX_SIZE) fail("object too large");
  const ptr = __realloc(old - OBJECT, OBJECT + size) + OBJECT;
  // The freed part is zeroed, so that it is zero when the block grows again.
  if (size < before && ptr == old) memory.fill(ptr + size, 0, before - size);
  store<u32>(ptr - 4, <u32>size);
  return ptr;
}

// @ts-ignore: decorator
@global @unsafe
function __link(parent: usize, child: usize, expectMultiple: bool): void {
  if (child >= mark && parent < mark && !isTemplate(parent)) escaped();
}

/** Whether it is the compiler's static array of a template literal, which is filled before each use. */
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
