/** `health` of a cluster: active checks and passive health. */

import { authority } from "./address-values.ts";
import { requestTarget, serverError, statuses } from "./http-values.ts";
import {
  convert,
  type Infer,
  list,
  object,
  oneOrMore,
  optional,
  type PluginUse,
  required,
  type ScalarShape,
  scalar,
  use,
  withDefault,
} from "./shape.ts";
import { findEntry } from "./tree.ts";
import { choice, count, duration, flag, percentage, textOf, yes } from "./values.ts";

const httpCheck = object(
  {
    path: required(requestTarget, "The request target; `http: /healthz` is short for this key alone."),
    method: withDefault(choice(["GET", "HEAD"]), "GET", "The method of the request."),
    host: optional(authority, "The `Host` of the request. Default: the endpoint's address."),
    status: withDefault(
      oneOrMore(statuses),
      ["2xx", "3xx"],
      "Status codes, or classes such as `2xx`, of a healthy response.",
    ),
  },
  { shorthand: { scalar: "path" } },
);

const tcpCheck = object(
  {
    connect: withDefault(yes, true, "`tcp: true`: an established connection is sufficient."),
    send: withDefault(textOf(0, 4096), "", "Text that is sent after connecting."),
    expect: withDefault(textOf(0, 1024), "", "Text that must be in the first 16 KiB that the endpoint sends."),
  },
  { shorthand: { scalar: "connect" } },
);

const grpcCheck = object(
  {
    check: withDefault(yes, true, "`grpc: true`: the health of the whole server."),
    service: withDefault(textOf(0, 256), "", "The service whose health is asked for. Default: the whole server."),
    host: optional(authority, "The `:authority` of the call. Default: the endpoint's address."),
  },
  { shorthand: { scalar: "check" } },
);

/** Text, or `0x` and hexadecimal digits. */
const datagram = (least: number): ScalarShape<string> =>
  scalar("text, or bytes such as 0x0a1b", { type: "string" }, (text) => {
    if (text.startsWith("0x") && !/^0x([0-9a-f]{2})+$/i.test(text)) return undefined;
    return text.length >= least && text.length <= 2400 ? text : undefined;
  });

const udpCheck = object({
  send: required(datagram(1), "The datagram that is sent: text, or bytes as `0x` and hexadecimal digits."),
  expect: withDefault(
    datagram(0),
    "",
    "What the first datagram of the response must contain. Default: any datagram is sufficient.",
  ),
});

const activeCheck = convert(
  object(
    {
      http: optional(httpCheck, "Check by an HTTP request on a new connection."),
      grpc: optional(
        grpcCheck,
        "Check by a call of `grpc.health.v1.Health/Check` on a new HTTP/2 connection: `SERVING` is healthy. See grpc.md.",
      ),
      tcp: optional(tcpCheck, "Check by a TCP connection."),
      udp: optional(udpCheck, "Check by a UDP datagram to which the endpoint responds."),
      plugin: optional(
        use("health check"),
        "Check by a plugin with the hook `health_check`: its name, or a map of the name to its configuration.",
      ),
      interval: withDefault(
        duration("100ms", "1h"),
        "5s",
        "Time between the starts of two checks, with a jitter of 10 %; up to four times as long while an endpoint stays down.",
      ),
      timeout: withDefault(duration("1ms", "5m"), "1s", "Time limit of a whole check."),
      healthyAfter: withDefault(
        count(1, 100),
        2,
        "Consecutive successful checks after which an unhealthy endpoint is healthy.",
      ),
      unhealthyAfter: withDefault(
        count(1, 100),
        3,
        "Consecutive failed checks after which an endpoint is unhealthy. For a new endpoint the first check decides.",
      ),
    },
    { one: ["http", "grpc", "tcp", "udp", "plugin"] },
  ),
  ({ http, grpc, tcp, udp, plugin, ...rest }, at, { warn }) => {
    if (rest.timeout > rest.interval)
      warn(at, "the timeout is longer than the interval: the next check waits for the end of the last");
    let probe: ProbeConfig | undefined;
    if (http) probe = { kind: "http", ...http };
    else if (grpc) probe = { kind: "grpc", ...grpc };
    else if (tcp) probe = { kind: "tcp", ...tcp };
    else if (udp) probe = { kind: "udp", ...udp };
    else if (plugin) probe = { kind: "plugin", use: plugin };
    return probe && { ...rest, probe };
  },
);

/** The kind of active check, with its settings. */
export type ProbeConfig =
  | ({ readonly kind: "http" } & Infer<typeof httpCheck>)
  | ({ readonly kind: "grpc" } & Infer<typeof grpcCheck>)
  | ({ readonly kind: "tcp" } & Infer<typeof tcpCheck>)
  | ({ readonly kind: "udp" } & Infer<typeof udpCheck>)
  | { readonly kind: "plugin"; readonly use: PluginUse };

const passiveCheck = convert(
  object(
    {
      enabled: withDefault(flag, true, "`passive: false` turns it off."),
      consecutiveFailures: withDefault(
        count(1, 1000),
        5,
        "Consecutive failed attempts that eject an endpoint: refused or broken connections, response timeouts, and `statuses`. A response timeout ejects it at once if nothing was received from the endpoint during that time.",
      ),
      statuses: withDefault(
        list(serverError),
        [502, 503, 504],
        "Statuses that count as failures. `[]`: none; only connection failures and timeouts count.",
      ),
      ejectFor: withDefault(
        duration("100ms", "1h"),
        "10s",
        "Duration of an ejection; doubled with each ejection that soon follows another. Then a single request is sent to the endpoint, and its result decides.",
      ),
      maxEjectFor: withDefault(
        duration("100ms", "24h"),
        "5m",
        "Maximum to which `ejectFor` grows, at least `ejectFor`.",
      ),
      maxEjected: withDefault(
        percentage,
        "50%",
        "Maximum share of the cluster's endpoints that may be ejected at the same time, rounded down, but at least one if there are several. The only endpoint of a cluster is never ejected, and of two only one at a time.",
      ),
      panic: withDefault(
        percentage,
        "50%",
        "If the share of remaining endpoints is below this, ejections are ignored, since the cause is then more likely the proxy, the network or a request. Results of active checks still apply.",
      ),
    },
    { shorthand: { scalar: "enabled" } },
  ),
  (value, at, { report }, tree) => {
    const { ejectFor, maxEjectFor } = value;
    if (findEntry(tree, "maxEjectFor") === undefined) return { ...value, maxEjectFor: Math.max(ejectFor, maxEjectFor) };
    if (maxEjectFor < ejectFor)
      report(at, `maxEjectFor (${maxEjectFor}ms) is below ejectFor (${ejectFor}ms), expected at least as much`);
    return value;
  },
);

export const health = object({
  active: optional(activeCheck, "Active health checks. Default: none."),
  passive: withDefault(
    passiveCheck,
    {},
    "Passive health (outlier detection): endpoints on which requests fail are ejected for a time.",
  ),
});
