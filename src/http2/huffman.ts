/** The Huffman code of HPACK (RFC 7541 section 5.2 and appendix B). */

/**
 * The length in bits of the code of each octet, and last of EOS; a length is a digit in base 36. The code is canonical:
 * in order of length, then octet, each code is the one before plus one.
 */
const LENGTHS = Uint8Array.from(
  "dnsssssssoussussssssssusssssssss6aacd68baa8b8666555666666678f6cad67777777777777777777777878d" +
    "jde6f56565666577666567655677777fbedskmkkmmmnmnnnnnonoomnonnnnlmnmnnomlkmmnnlnmmolmnnllmlnmnn" +
    "kmmmnmmnqqkjmnmpqqqrrqopjlqrrqrollqqsrrrkoklmllnmmppooqnqrqqrrrrrsrrrrrqu",
  (digit) => Number.parseInt(digit, 36),
);
const EOS = 256;

/** An octet of HPACK's Huffman code takes at least 5 bits. */
export const MAX_EXPANSION = 8 / 5;

const CODES = makeCodes();

function makeCodes(): Uint32Array {
  const codes = new Uint32Array(EOS + 1);
  const order = [...codes.keys()].sort((a, b) => LENGTHS[a]! - LENGTHS[b]! || a - b);
  let code = 0;
  let length = 0;
  for (const symbol of order) {
    code *= 2 ** (LENGTHS[symbol]! - length);
    length = LENGTHS[symbol]!;
    codes[symbol] = code++;
  }
  return codes;
}

// Decoding reads four bits at a time. A state is an inner node of the code's tree: the bits of an octet read so far. An
// entry of TRANSITIONS has the next state in its low 8 bits, the octet that ends here, if any, in the next 8, and flags.
const EMITS = 1 << 16;
const INVALID = 1 << 17;
const { transitions: TRANSITIONS, isEnd: IS_END } = makeDecoder();

/** The first child of node `n` is `children[2 * n]`, the second the next word: a node, or a leaf as -1 - octet. */
function makeTree(): number[] {
  const children = [0, 0];
  for (let symbol = 0; symbol <= EOS; symbol++) {
    let node = 0;
    for (let bit = LENGTHS[symbol]! - 1; bit > 0; bit--) {
      const at = 2 * node + ((CODES[symbol]! >>> bit) & 1);
      if (children[at] === 0) {
        children[at] = children.length / 2;
        children.push(0, 0);
      }
      node = children[at]!;
    }
    children[2 * node + (CODES[symbol]! & 1)] = -1 - symbol;
  }
  return children;
}

function makeDecoder(): { transitions: Int32Array; isEnd: Uint8Array } {
  const children = makeTree();
  const states = children.length / 2;
  const transitions = new Int32Array(states * 16);
  for (let at = 0; at < transitions.length; at++) {
    let node = at >> 4;
    let flags = 0;
    for (let bit = 3; bit >= 0; bit--) {
      node = children[2 * node + ((at >> bit) & 1)]!;
      if (node >= 0) continue;
      flags |= node === -1 - EOS ? INVALID : EMITS | ((-1 - node) << 8);
      node = 0;
    }
    transitions[at] = node | flags;
  }
  // The padding is at most 7 bits, all of them 1.
  const isEnd = new Uint8Array(states);
  for (let node = 0, bits = 0; bits < 8; bits++, node = children[2 * node + 1]!) isEnd[node] = 1;
  return { transitions, isEnd };
}

/** Decodes `source[start, end)` into `target[at…]`, which has room for it. Returns the end of the output, or -1. */
export function decodeHuffman(source: Uint8Array, start: number, end: number, target: Uint8Array, at: number): number {
  let state = 0;
  let to = at;
  for (let i = start; i < end; i++) {
    const byte = source[i]!;
    const high = TRANSITIONS[(state << 4) | (byte >> 4)]!;
    if ((high & EMITS) !== 0) target[to++] = (high >> 8) & 0xff;
    const low = TRANSITIONS[((high & 0xff) << 4) | (byte & 15)]!;
    if ((low & EMITS) !== 0) target[to++] = (low >> 8) & 0xff;
    if (((high | low) & INVALID) !== 0) return -1;
    state = low & 0xff;
  }
  return IS_END[state] === 1 ? to : -1;
}

/** The length in bytes of the code of `source[start, end)`. */
export function huffmanLength(source: Uint8Array, start: number, end: number): number {
  let bits = 0;
  for (let i = start; i < end; i++) bits += LENGTHS[source[i]!]!;
  return (bits + 7) >> 3;
}

/** Writes the code of `source[start, end)` to `target[at…]`, which has room for `huffmanLength`. Returns its end. */
export function encodeHuffman(source: Uint8Array, start: number, end: number, target: Uint8Array, at: number): number {
  let to = at;
  /** Bits not written yet, fewer than 8 between two steps: a step adds at most 15, and so never exceeds 32. */
  let pending = 0;
  let count = 0;
  for (let i = start; i < end; i++) {
    const code = CODES[source[i]!]!;
    let left = LENGTHS[source[i]!]!;
    while (left > 0) {
      const step = Math.min(left, 15);
      left -= step;
      pending = (pending << step) | ((code >>> left) & ((1 << step) - 1));
      for (count += step; count >= 8; target[to++] = pending >>> count) count -= 8;
      pending &= (1 << count) - 1;
    }
  }
  if (count > 0) target[to++] = (pending << (8 - count)) | (0xff >> count);
  return to;
}
