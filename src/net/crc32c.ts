/** CRC-32C (Castagnoli, RFC 3309), which the header of the PROXY protocol may carry. */

const POLYNOMIAL = 0x82f63b78;

const TABLE = Int32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = (value >>> 1) ^ ((value & 1) === 1 ? POLYNOMIAL : 0);
  return value;
});

/** The checksum of `bytes[start, end)` as an unsigned number; the four bytes at `zeroAt` count as zeros (-1: none). */
export function crc32c(bytes: Uint8Array, start: number, end: number, zeroAt = -1): number {
  let value = -1;
  for (let at = start; at < end; at++) {
    const byte = zeroAt >= 0 && at >= zeroAt && at < zeroAt + 4 ? 0 : bytes[at]!;
    value = (value >>> 8) ^ TABLE[(value ^ byte) & 0xff]!;
  }
  return ~value >>> 0;
}
