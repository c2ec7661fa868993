/** The listener at which a dry run's request is received. */
import { isTargetText, parseTarget } from "../http/path-text.ts";
import type { ListenerPlan } from "../plan/plan.ts";
import type { ExplainRequest } from "./messages.ts";

type Listener = { readonly plan: Pick<ListenerPlan, "name" | "address" | "protocol" | "tls"> };

/** The listener by name, else by the URL: address, port, scheme; of a path the first for requests. @throws Error */
export function findListener<L extends Listener>(all: readonly L[], { listener, url }: ExplainRequest): L {
  const names = all.map(({ plan }) => plan.name).join(", ");
  const named = all.find(({ plan }) => plan.name === listener);
  if (listener !== "" && named === undefined)
    throw new Error(`there is no listener ${listener}, expected one of ${names}`);
  const found = named ?? chooseByUrl(all, url);
  if (found === undefined) throw new Error("the configuration has no listener");
  if (found.plan.protocol === "udp")
    throw new Error(`the listener ${found.plan.name} relays datagrams: there are no requests to explain`);
  return found;
}

function chooseByUrl<L extends Listener>(all: readonly L[], url: string): L | undefined {
  const streams = all.filter(({ plan }) => plan.protocol !== "udp");
  const requests = streams.filter(({ plan }) => plan.protocol !== "tcp");
  const first = requests[0] ?? streams[0] ?? all[0];
  if (isTargetText(url)) return first;
  const { host, port, protocol } = parseTarget(url);
  const isHttps = protocol === "https:";
  const ending = `:${port === "" ? (isHttps ? "443" : "80") : port}`;
  return (
    streams.find(({ plan }) => plan.address === host) ??
    streams.find(({ plan }) => plan.address.endsWith(ending)) ??
    requests.find(({ plan }) => (plan.tls !== null) === isHttps) ??
    first
  );
}
