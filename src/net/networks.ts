/** Lists of networks in CIDR notation, and whether they contain an address. */
import { BlockList, isIP, isIPv4 } from "node:net";

export type Networks = BlockList;

/** `blocks`: networks (`10.0.0.0/8`) and single addresses. */
export function makeNetworks(blocks: readonly string[]): Networks {
  const list = new BlockList();
  for (const block of blocks) {
    const { address, family, prefix } = parseNetwork(block);
    list.addSubnet(address, prefix, family);
  }
  return list;
}

/** Whether one of the networks contains the address; false for a text that is no address. */
export function hasAddress(networks: Networks, address: string): boolean {
  const family = isIP(address);
  return family !== 0 && networks.check(address, family === 4 ? "ipv4" : "ipv6");
}

/** Whether the network `wide` contains all of the network `narrow`. */
export function containsNetwork(wide: string, narrow: string): boolean {
  const { address, family, prefix } = parseNetwork(narrow);
  const outer = parseNetwork(wide);
  return outer.family === family && outer.prefix <= prefix && hasAddress(makeNetworks([wide]), address);
}

function parseNetwork(block: string): { address: string; family: "ipv4" | "ipv6"; prefix: number } {
  const [address = "", prefix] = block.split("/");
  const family = isIPv4(address) ? "ipv4" : "ipv6";
  return { address, family, prefix: prefix === undefined ? (family === "ipv4" ? 32 : 128) : Number(prefix) };
}
