// A router: the first label of the host name is the tenant; the configuration maps tenants to clusters.
import { cluster, Cluster, Config, Request } from "sluice/sdk";

const domain = Config.string("domain");
const header = Config.string("header", "x-tenant");
const shared = cluster(Config.string("default"));

// Objects created at the top of the file persist; objects created in a call are freed when it ends.
const own = new Map<string, Cluster>();
const tenants = Config.keys("clusters");
for (let i = 0; i < tenants.length; i++) own.set(tenants[i], cluster(Config.string(Config.join("clusters", tenants[i]))));

export function route(req: Request): Cluster | null {
  const host = req.host.toLowerCase();
  const tenant = host.endsWith(domain) ? host.substring(0, host.length - domain.length) : "";
  if (tenant == "" || tenant.includes(".")) {
    req.respond(404, "no tenant of that name\n");
    return null;
  }
  req.headers.own(header);
  req.headers.set(header, tenant);
  return own.has(tenant) ? own.get(tenant) : shared;
}
