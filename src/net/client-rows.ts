/**
 * The rows of a client in a shared table of fixed size. Each client has two, chosen by a keyed hash of its address, and is
 * over a limit when both rows are. So a limit is never exceeded, and a client is refused by mistake only if others fill
 * both of its rows; the key keeps a client from choosing addresses that share rows with another.
 */
import { createHmac } from "node:crypto";

export type ClientRows = { readonly first: number; readonly second: number };

/** The rows of `name` in a table of `count` rows, which can be the same one. */
export function rowsOf(key: Uint8Array, name: string, count: number): ClientRows {
  const hash = createHmac("sha256", key).update(name).digest();
  return { first: hash.readUInt32LE(0) % count, second: hash.readUInt32LE(4) % count };
}

/** The addresses that count as one client: an IPv4 address, or the /64 network of an IPv6 address (RFC 5952). */
export function networkOf(address: string): string {
  if (!address.includes(":")) return address;
  const [head = "", tail] = address.split("::");
  const groups = head === "" ? [] : head.split(":");
  const last = tail === undefined || tail === "" ? [] : tail.split(":");
  while (groups.length + last.length < 8) groups.push("0");
  return [...groups, ...last].slice(0, 4).join(":");
}
