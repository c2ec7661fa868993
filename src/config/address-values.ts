/** Scalar types of addresses, hosts and networks. */
import { domainToASCII } from "node:url";
import { InvalidValue, type ScalarShape, scalar } from "./shape.ts";

export type Address = {
  /** As configured and displayed. */
  readonly text: string;
  /** A numeric address or a name; "" for all addresses of the machine, and for a Unix socket. */
  readonly host: string;
  readonly port: number;
  /** The path of a Unix socket, or "". */
  readonly path: string;
};

/** `sockaddr_un` has 108 bytes including the terminating zero. */
const MAX_UNIX_PATH = 107;

/** A host with an optional port, as in `Host`. */
export const authority: ScalarShape<string> = scalar("a host such as app.example.com", { type: "string" }, (text) => {
  const found = /^(\[[^\]]*\]|[^:]*)(?::(\d{1,5}))?$/.exec(text);
  const host = found?.[1] ?? "";
  const named = host.startsWith("[") ? isIPv6(host.slice(1, -1)) : isIPv4(host) || isHostName(host);
  return named && Number(found?.[2] ?? 0) <= 65535 ? text : undefined;
});

/** The address of a listener: `:8080`, `127.0.0.1:8080`, `[::1]:80`, `unix:/path`. */
export const listenAddress: ScalarShape<Address> = scalar(
  "an address such as :8080, 127.0.0.1:8080, [::1]:8080 or unix:/run/sluice.sock",
  { type: "string" },
  (text) => parseAddress(text, 0, true),
);

/** The address of an endpoint: an address or a name with a port, or a DNS service (`host` is its name, `port` 0). */
export const endpointAddress: ScalarShape<Address> = scalar(
  "an address with a port, such as 127.0.0.1:9001, app.local:9001, [::1]:9001 or unix:/run/app.sock",
  { type: "string" },
  (text) => (text.startsWith("srv:") ? parseService(text) : parseAddress(text, 1, false)),
);

/** `false`, or an address. */
export const adminAddress: ScalarShape<Address | null> = scalar(
  "false, or an address such as 127.0.0.1:9901",
  { anyOf: [{ type: "string" }, { const: false }] },
  (text) => {
    if (text === "false") return null;
    return /^(true|yes|on|enabled?|no|off|none|disabled?|\d+)$/i.test(text) ? undefined : parseAddress(text, 0, true);
  },
);

/** Whether only this machine can reach the address. The only name for which this is known is `localhost`. */
export function isLoopback({ host, path }: Address): boolean {
  if (path !== "") return true;
  if (host.includes(":")) return new URL(`http://[${host}]/`).hostname === "[::1]";
  return isIPv4(host) ? host.startsWith("127.") : host.toLowerCase() === "localhost";
}

function parseAddress(text: string, leastPort: number, anyHost: boolean): Address | undefined {
  if (text.startsWith("unix:")) {
    const path = text.slice(5);
    if (!path.startsWith("/")) throw new InvalidValue(`"${text}" is not an absolute path, expected unix:/path`);
    if (Buffer.byteLength(path) > MAX_UNIX_PATH || path.includes("\0"))
      throw new InvalidValue(`"${text}" is too long, expected at most ${MAX_UNIX_PATH} bytes of path`);
    return { text, host: "", port: 0, path };
  }
  if (/^[a-z]+:\/\//.test(text)) throw new InvalidValue(`"${text}" is a URL, expected only host and port`);
  const found = /^(\[[^\]]*\]|[^:]*):(\d{1,5})$/.exec(text);
  const bare = /^(?:\*:)?(\d{1,5})$/.exec(text);
  if (bare && anyHost)
    throw new InvalidValue(
      `invalid value "${text}": expected ":${bare[1]}" for every address, or 127.0.0.1:${bare[1]}`,
    );
  if (!found) {
    if (isIPv6(text)) throw new InvalidValue(`"${text}" has no port, expected [${text}]:port`);
    if (isIPv4(text) || (/^[A-Za-z0-9.-]+$/.test(text) && !/^\d+$/.test(text)))
      throw new InvalidValue(`"${text}" has no port, expected ${text}:port`);
    return undefined;
  }
  const written = found[1]!;
  const port = Number(found[2]);
  if (port < leastPort || port > 65535) throw new InvalidValue(`port ${port} is outside ${leastPort} to 65535`);
  if (written.startsWith("[")) {
    const host = written.slice(1, -1);
    return isIPv6(host) ? { text, host, port, path: "" } : undefined;
  }
  if (written === "") return anyHost ? { text, host: "", port, path: "" } : undefined;
  if (isIPv4(written) || isHostName(written)) return { text, host: written, port, path: "" };
  return undefined;
}

function parseService(text: string): Address {
  const host = text.slice("srv:".length);
  if (
    host.length <= 253 &&
    host.split(".").every((label) => /^[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?$/.test(label))
  )
    return { text, host, port: 0, path: "" };
  throw new InvalidValue(`invalid service "${text}": expected srv: and a name such as _http._tcp.app.example.com`);
}

/** The address of a DNS server; the default port is 53. */
export const dnsServer: ScalarShape<Address> = scalar(
  "a numeric address with an optional port, such as 10.0.0.2, 127.0.0.1:8600 or [::1]:53",
  { type: "string" },
  (text) => {
    const bare = isIPv6(text) ? `[${text}]` : text;
    const found = parseAddress(/:\d+$/.test(bare) && !bare.endsWith("]") ? bare : `${bare}:53`, 1, false);
    return found !== undefined && found.path === "" && (isIPv4(found.host) || isIPv6(found.host)) ? found : undefined;
  },
);

/** `cluster:NAME`, an origin without a path (`https://keys.example.com`), or the word `endpoint`. */
export const fetchTarget: ScalarShape<string> = scalar(
  "cluster:NAME, endpoint, or an origin like https://keys.example.com",
  { type: "string" },
  (text) => {
    if (text === "endpoint" || /^cluster:[^/?#\s]+$/.test(text)) return text;
    return /^https?:\/\/[^/?#@\s]+$/.test(text) && URL.canParse(text) ? new URL(text).origin : undefined;
  },
);

/** A network in CIDR notation or one address, returned as text. */
export const addressBlock: ScalarShape<string> = scalar(
  "a block of addresses such as 10.0.0.0/8 or fd00::/8, or one address",
  { type: "string" },
  (text) => {
    const [address = "", bits, more] = text.split("/");
    const width = isIPv4(address) ? 32 : isIPv6(address) && !address.includes("%") ? 128 : 0;
    if (width === 0 || more !== undefined) return undefined;
    return bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= width) ? text : undefined;
  },
);

/** A block of addresses of peers, or `unix` for those on Unix sockets. */
export const peerBlock: ScalarShape<string> = scalar(`${addressBlock.expected}, or unix`, { type: "string" }, (text) =>
  text === "unix" ? text : addressBlock.parse(text),
);

/** `example.com`, `*.example.com`, `127.0.0.1`, `[::1]`: lower case, in ASCII, without port. */
export const hostPattern: ScalarShape<string> = scalar(
  "a host such as example.com or *.example.com, without port",
  { type: "string" },
  (text) => {
    if (/^\[.*\]$/.test(text)) return isIPv6(text.slice(1, -1)) ? text.toLowerCase() : undefined;
    const wild = text.startsWith("*.");
    const ascii = domainToASCII(wild ? text.slice(2) : text).toLowerCase();
    if (!isIPv4(ascii) && !isHostName(ascii)) return undefined;
    return wild ? `*.${ascii}` : ascii;
  },
);

function isIPv4(text: string): boolean {
  return /^(\d{1,3}\.){3}\d{1,3}$/.test(text) && text.split(".").every((part) => Number(part) <= 255);
}

function isIPv6(text: string): boolean {
  return text.includes(":") && /^[0-9A-Fa-f:.]+$/.test(text) && URL.canParse(`http://[${text}]/`);
}

function isHostName(text: string): boolean {
  const labels = text.split(".");
  // A name whose last label is numeric would be parsed as an invalid IPv4 address.
  return (
    text.length <= 253 &&
    labels.every((label) => /^[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?$/.test(label)) &&
    !/^\d+$/.test(labels.at(-1) ?? "")
  );
}
