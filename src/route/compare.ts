/** Comparisons of bytes. */

export function equals(wanted: Uint8Array, bytes: Uint8Array, start: number, end: number): boolean {
  return end - start === wanted.length && startsWith(wanted, bytes, start, end);
}

export function startsWith(wanted: Uint8Array, bytes: Uint8Array, start: number, end: number): boolean {
  const length = wanted.length;
  if (end - start < length) return false;
  for (let i = 0; i < length; i++) if (bytes[start + i] !== wanted[i]) return false;
  return true;
}

export function lower(byte: number): number {
  return byte >= 65 && byte <= 90 ? byte + 32 : byte;
}
