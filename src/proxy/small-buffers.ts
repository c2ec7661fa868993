/**
 * Small buffers that live as long as a request, cut from larger ones: V8 frees each separate one on a helper thread, which
 * takes the core from the worker. A buffer that is kept keeps the whole SLAB, four times what it would be alone.
 */
const SLAB = 4096;
/** Larger buffers are separate. */
const MOST = 1024;
/** Sizes are multiples of it. */
const STEP = 256;

let slab = Buffer.alloc(0);
let used = 0;

/** Returns a buffer of at least `size` bytes, not cleared. */
export function allocateSmall(size: number): Buffer {
  if (size > MOST) return Buffer.allocUnsafeSlow(size);
  const length = Math.ceil(size / STEP) * STEP;
  if (used + length > slab.length) {
    slab = Buffer.allocUnsafeSlow(SLAB);
    used = 0;
  }
  const start = used;
  used += length;
  return slab.subarray(start, used);
}
