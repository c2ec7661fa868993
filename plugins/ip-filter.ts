// Lets requests in by the client's address:
//
//     ip-filter:
//       allow: [10.0.0.0/8, 2001:db8::/32, 192.0.2.7]    # without it: everyone
//       deny: [10.9.0.0/16]                              # wins over allow
//       status: 403                                      # of the answer: 400 to 499
//
// The client's address is the peer's, or by X-Forwarded-For when the peer is one of the listener's `trustedProxies`.
// An IPv4 address that comes as IPv6 (::ffff:10.0.0.1) is that IPv4 address. A client without an address, as on a Unix
// socket, is denied: nothing says that it is in none of the networks.

import { Config, IpAddress, IpSet, PerInstance, Request } from "sluice/sdk";

export const servesMany = true;

class Rule {
  constructor(
    readonly allow: IpSet,
    readonly deny: IpSet,
    readonly status: i32,
  ) {}
}

const rules = new PerInstance<Rule>();

export function configure(): void {
  Config.allow("", ["allow", "deny", "status"]);
  const status = Config.int("status", 403);
  if (status < 400 || status > 499) Config.refuse("status", "400 to 499");
  const rule = new Rule(readNetworks("allow"), readNetworks("deny"), status);
  if (rule.allow.isEmpty && rule.deny.isEmpty) Config.refuse("allow", "networks; or deny");
  rules.set(rule);
}

export function onRequest(req: Request): void {
  const rule = rules.get();
  const address = IpAddress.parse(req.clientAddress);
  if (!address || rule.deny.contains(address) || !(rule.allow.isEmpty || rule.allow.contains(address))) req.respond(rule.status, "not from this address\n");
}

function readNetworks(path: string): IpSet {
  const set = new IpSet();
  const list = Config.list(path);
  // Networks that were all taken away must not let everyone in.
  if (Config.has(path) && !list.length) Config.refuse(path, "at least one network");
  for (let i = 0; i < list.length; i++) {
    if (!set.add(list[i])) throw new Error(`config ${path}: expected networks and addresses, found "${list[i]}"${hint(list[i])}`);
  }
  return set;
}

function hint(text: string): string {
  return text.includes("/") ? " (bits behind the prefix must be zero)" : "";
}
