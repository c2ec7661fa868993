// Allows or denies requests by the client's IP address:
//
//     ip-filter:
//       allow: [10.0.0.0/8, 2001:db8::/32, 192.0.2.7]    # default: all
//       deny: [10.9.0.0/16]                              # takes precedence over allow
//       status: 403                                      # status of the response: 400 to 499
//
// The client's address is that of the peer, or taken from X-Forwarded-For if the peer is in the listener's
// `trustedProxies`. An IPv4-mapped IPv6 address (::ffff:10.0.0.1) is treated as IPv4. A client without an address, as on a
// Unix socket, is denied, because it cannot be compared with the networks.

import { Config, IpAddress, IpSet, PerInstance, Request } from "sluice/sdk";

export const servesMany = true;

class Settings {
  constructor(
    readonly allow: IpSet,
    readonly deny: IpSet,
    readonly status: i32,
  ) {}
}

const current = new PerInstance<Settings>();

export function configure(): void {
  Config.allow("", ["allow", "deny", "status"]);
  const status = Config.int("status", 403);
  if (status < 400 || status > 499) Config.refuse("status", "400 to 499");
  const settings = new Settings(readNetworks("allow"), readNetworks("deny"), status);
  if (settings.allow.isEmpty && settings.deny.isEmpty) Config.refuse("allow", "at least one of allow and deny");
  current.set(settings);
}

export function onRequest(req: Request): void {
  const settings = current.get();
  const address = IpAddress.parse(req.clientAddress);
  if (!address || settings.deny.contains(address) || !(settings.allow.isEmpty || settings.allow.contains(address))) req.respond(settings.status, "address not allowed\n");
}

function readNetworks(path: string): IpSet {
  const set = new IpSet();
  const list = Config.list(path);
  // An empty `allow` would otherwise mean all networks.
  if (Config.has(path) && !list.length) Config.refuse(path, "at least one network");
  for (let i = 0; i < list.length; i++) {
    if (!set.add(list[i])) throw new Error(`config ${path}: expected a network or an address, found "${list[i]}"${hint(list[i])}`);
  }
  return set;
}

function hint(text: string): string {
  return text.includes("/") ? " (bits after the prefix must be zero)" : "";
}
