/** Connection IDs of QUIC packets (RFC 8999), which all versions of QUIC have in common. */

/** Longest connection ID that is read: of version 1 (RFC 9000 section 17.2). */
const MAX_ID = 20;
const LONG_HEADER = 0x80;

export type LongHeader = { readonly destination: string; readonly source: string };

export function hasLongHeader(packet: Buffer): boolean {
  return packet.length > 0 && (packet[0]! & LONG_HEADER) !== 0;
}

/** The IDs of a packet with a long header, as latin1; null: it is none, or incomplete. */
export function readLongHeader(packet: Buffer): LongHeader | null {
  if (!hasLongHeader(packet)) return null;
  // A byte of flags, four of the version, then each ID after its length.
  const destination = readId(packet, 5);
  const source = destination === null ? null : readId(packet, 6 + destination.length);
  return destination === null || source === null ? null : { destination, source };
}

function readId(packet: Buffer, at: number): string | null {
  const length = packet[at];
  if (length === undefined || length > MAX_ID || at + 1 + length > packet.length) return null;
  return packet.toString("latin1", at + 1, at + 1 + length);
}

/** The destination ID of a packet with a short header, which does not state its length, if it has that length. */
export function readShortHeader(packet: Buffer, length: number): string | null {
  return packet.length < 1 + length ? null : packet.toString("latin1", 1, 1 + length);
}
