/** Scalar types of the configuration: parsers of durations, sizes, addresses and others. */
import { domainToASCII } from "node:url";
import { RE2JS } from "re2js";
import { normalizePathText, normalizeTargetText } from "../http/path-text.ts";
import { findNearest } from "./place.ts";
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

const UNITS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;
const SIZES = { "": 1, B: 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 } as const;
const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
/** `sockaddr_un` has 108 bytes including the terminating zero. */
const MAX_UNIX_PATH = 107;
/** A path of 16 KiB through a program of this size takes some ten milliseconds at worst. */
const MAX_REGEX_SIZE = 2000;

/** Milliseconds. */
export function duration(min: string, max: string): ScalarShape<number> {
  const least = parseDuration(min) ?? 0;
  const most = parseDuration(max) ?? 0;
  const expected = `a duration from ${min} to ${max}, such as 250ms, 5s or 2m`;
  return scalar(expected, { type: "string", pattern: "^(0|\\d+(\\.\\d+)?(ms|s|m|h|d))$" }, (text) => {
    const value = parseDuration(text);
    return value !== undefined && value >= least && value <= most ? value : undefined;
  });
}

/** Parses a duration such as `250ms` to milliseconds; undefined if invalid. */
export function parseDuration(text: string): number | undefined {
  if (text === "0") return 0;
  const found = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/.exec(text);
  return found ? Math.round(Number(found[1]) * UNITS[found[2] as keyof typeof UNITS]) : undefined;
}

/** Bytes. */
export function size(min: string, max: string): ScalarShape<number> {
  const least = parseSize(min) ?? 0;
  const most = parseSize(max) ?? 0;
  const json = {
    type: ["integer", "string"],
    minimum: least,
    maximum: most,
    pattern: "^\\d+(\\.\\d+)?(B|KiB|MiB|GiB)?$",
  };
  return scalar(`a size from ${min} to ${max}, such as 16KiB or 1MiB`, json, (text) => {
    const value = parseSize(text);
    return value !== undefined && value >= least && value <= most ? value : undefined;
  });
}

/** Parses a size such as `64MiB` to bytes; undefined if invalid. */
export function parseSize(text: string): number | undefined {
  const found = /^(\d+(?:\.\d+)?)(B|KiB|MiB|GiB)?$/.exec(text);
  return found ? Math.round(Number(found[1]) * SIZES[(found[2] ?? "") as keyof typeof SIZES]) : undefined;
}

export function count(min: number, max: number): ScalarShape<number> {
  const json = { type: "integer", minimum: min, maximum: max };
  return scalar(`a whole number from ${min} to ${max}`, json, (text) => {
    const value = Number(text);
    return /^\d+$/.test(text) && value >= min && value <= max ? value : undefined;
  });
}

/** `0.1%`, as a share of 1. */
export const percentage: ScalarShape<number> = scalar(
  "a share from 0% to 100%",
  { type: "string", pattern: "^\\d+(\\.\\d+)?%$" },
  (text) => {
    const value = /^\d+(\.\d+)?%$/.test(text) ? Number(text.slice(0, -1)) / 100 : Number.NaN;
    return value <= 1 ? value : undefined;
  },
);

/** A secret of characters valid in a header field, long enough not to be guessed. */
export const debugToken: ScalarShape<string> = scalar(
  "a token of 16 to 256 visible characters of ASCII",
  { type: "string", minLength: 16, maxLength: 256 },
  (text) => {
    if (/^[\x21-\x7e]{16,256}$/.test(text)) return text;
    throw new InvalidValue("the token is not of 16 to 256 visible characters of ASCII");
  },
);

/**
 * A percentage. `sign`: requires `%`, where a plain number could be mistaken for a fraction.
 */
export function percent(min: number, max: number, sign: "required" | "optional"): ScalarShape<number> {
  const pattern = "^\\d+(\\.\\d+)?%$";
  const json =
    sign === "required"
      ? { type: "string", pattern }
      : { type: ["number", "string"], minimum: min, maximum: max, pattern };
  const expected = `a percentage from ${min}% to ${max}%`;
  return scalar(expected, json, (text) => {
    const found = /^(\d+(?:\.\d+)?)(%?)$/.exec(text);
    if (found === null || (sign === "required" && found[2] === "")) return undefined;
    const value = Number(found[1]);
    return value >= min && value <= max ? value : undefined;
  });
}

export const flag: ScalarShape<boolean> = scalar("true or false", { type: "boolean" }, (text) =>
  text === "true" ? true : text === "false" ? false : undefined,
);

/** Only `true`: for a key that is present or absent. */
export const yes: ScalarShape<boolean> = scalar("true", { const: true }, (text) =>
  text === "true" ? true : undefined,
);

/** Text with a length in bytes of UTF-8. */
export function textOf(min: number, max: number): ScalarShape<string> {
  return scalar(
    `a text of ${min} to ${max} bytes`,
    { type: ["string", "number", "boolean"], minLength: min, maxLength: max },
    (text) => {
      const bytes = Buffer.byteLength(text);
      return bytes >= min && bytes <= max ? text : undefined;
    },
  );
}

/** One of a set of words. `later`: reserved words, not supported in this version. */
export function choice<const T extends string>(words: readonly T[], later: readonly string[] = []): ScalarShape<T> {
  const expected = words.length === 1 ? `${words[0]}` : `one of ${words.join(", ")}`;
  return scalar(expected, { enum: words }, (text) => {
    const word = words.find((one) => one === text);
    if (word !== undefined) return word;
    if (later.includes(text))
      throw new InvalidValue(`"${text}" is not supported by this version, expected ${expected}`);
    const near = findNearest(text, words);
    if (near !== undefined) throw new InvalidValue(`"${text}" is not known, did you mean "${near}"`);
    return undefined;
  });
}

/** A user-defined name; used as a metric label and in paths of the admin API. */
export const name: ScalarShape<string> = scalar(
  "a name of letters, digits, '-', '_' and '.', at most 64",
  { type: "string", pattern: "^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$" },
  (text) => (/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$/.test(text) ? text : undefined),
);

export const filePath: ScalarShape<string> = scalar("the path of a file", { type: "string", minLength: 1 }, (text) =>
  text === "" || text.includes("\0") ? undefined : text,
);

export const fieldName: ScalarShape<string> = scalar("a header name", { type: "string" }, (text) =>
  TOKEN.test(text) ? text.toLowerCase() : undefined,
);

export const fieldValue: ScalarShape<string> = scalar(
  "a header value without control characters",
  { type: ["string", "number", "boolean"] },
  (text) => (/^[^\0-\x08\x0a-\x1f\x7f]*$/.test(text) ? text.trim() : undefined),
);

export const queryName: ScalarShape<string> = scalar("the name of a query parameter", { type: "string" }, (text) =>
  text === "" ? undefined : text,
);

export const queryValue: ScalarShape<string> = scalar(
  "the value of a query parameter",
  { type: ["string", "number", "boolean"] },
  (text) => text,
);

/** Methods are case-sensitive (RFC 9110 section 9.1); a lower-case one would never match, so it is rejected. */
export const method: ScalarShape<string> = scalar(
  "a method such as GET, in capitals",
  { type: "string", pattern: "^[^a-z]+$" },
  (text) => (TOKEN.test(text) && !/[a-z]/.test(text) ? text : undefined),
);

/** A protocol name with an optional version (RFC 9110 section 7.8). HTTP in a tunnel would pass all routes and plugins. */
export const upgradeProtocol: ScalarShape<string> = scalar(
  "the name of a protocol such as websocket, other than HTTP and TLS",
  { type: "string", pattern: "^[!#$%&'*+.^_`|~0-9A-Za-z-]+(/[!#$%&'*+.^_`|~0-9A-Za-z-]+)?$" },
  (text) => {
    const [name, version = "0", ...rest] = text.split("/");
    const isName = TOKEN.test(name!) && TOKEN.test(version) && rest.length === 0;
    return isName && !/^(h2c?|https?|tls)$/i.test(name!) ? text : undefined;
  },
);

const RETRY_CAUSES = ["connect", "reset", "timeout"] as const;
export type RetryReason = (typeof RETRY_CAUSES)[number] | number;

/** A cause, or a 4xx or 5xx status. */
export const retryReason: ScalarShape<RetryReason> = scalar(
  "connect, reset, timeout or a status code from 400 to 599",
  { anyOf: [{ enum: RETRY_CAUSES }, { type: "integer", minimum: 400, maximum: 599 }] },
  (text) => RETRY_CAUSES.find((cause) => cause === text) ?? (/^[45]\d\d$/.test(text) ? Number(text) : undefined),
);

/** A 5xx status. */
export const serverError: ScalarShape<number> = scalar(
  "a status code from 500 to 599",
  { type: "integer", minimum: 500, maximum: 599 },
  (text) => (/^5\d\d$/.test(text) ? Number(text) : undefined),
);

export type Statuses = { readonly least: number; readonly most: number };

/** A final status or a status class. */
export const statuses: ScalarShape<Statuses> = scalar(
  "a status code from 200 to 599 or a class from 2xx to 5xx",
  {
    anyOf: [
      { type: "string", pattern: "^[2-5]xx$" },
      { type: "integer", minimum: 200, maximum: 599 },
    ],
  },
  (text) => {
    if (!/^[2-5](xx|\d\d)$/.test(text)) return undefined;
    const least = Number(text.replace("xx", "00"));
    return { least, most: text.endsWith("xx") ? least + 99 : least };
  },
);

/** A request target: a path and an optional query, normalised like those of requests. */
export const requestTarget: ScalarShape<string> = scalar(
  "a path that begins with /, in visible ASCII",
  { type: "string", pattern: "^/|\\$\\{" },
  (text) => (/^\/[\x21-\x7e]{0,2047}$/.test(text) ? (normalizeTargetText(text) ?? undefined) : undefined),
);

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
  (text) => (text === "false" ? null : parseAddress(text, 0, true)),
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
  "a numeric address with a port if need be, such as 10.0.0.2, 127.0.0.1:8600 or [::1]:53",
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

/** The exact path of a route, normalised like paths of requests. */
export const pathPattern: ScalarShape<string> = scalar(
  "a path that begins with /",
  { type: "string", pattern: "^/|\\$\\{" },
  (text) => normalizePattern(text, false),
);

/** A path prefix; it may end within a segment, so `/.` matches `/.well-known`. */
export const pathPrefix: ScalarShape<string> = scalar(
  "the beginning of a path, / first",
  { type: "string", pattern: "^/|\\$\\{" },
  (text) => normalizePattern(text, true),
);

/** `open`: more may follow within the last segment. */
function normalizePattern(text: string, open: boolean): string | undefined {
  if (!text.startsWith("/")) return undefined;
  const never = (what: string) => new InvalidValue(`"${text}" can never match: ${what}`);
  if (/[?#]/.test(text)) throw never('a path has no "?" or "#", expected the query under `query`');
  const path = /[\0-\x1f\x7f]/.test(text) ? null : normalizePathText(open ? `${text}x` : text);
  if (path === null) throw never("such a path is refused with 400");
  if (countSlashes(path) !== countSlashes(text)) throw never('"." and ".." are resolved before routes are matched');
  return open ? path.slice(0, -1) : path;
}

function countSlashes(path: string): number {
  return path.split("/").length;
}

/** A regular expression in RE2 syntax; matching time is linear in the path. */
export const pathRegex: ScalarShape<string> = scalar(
  "a regular expression (RE2 syntax)",
  { type: "string" },
  (text) => {
    let compiled: RE2JS;
    try {
      compiled = RE2JS.compile(text);
    } catch (error) {
      throw new InvalidValue(`not a regular expression of RE2's syntax: ${(error as Error).message}`);
    }
    if (compiled.programSize() > MAX_REGEX_SIZE)
      throw new InvalidValue(
        `the expression compiles to ${compiled.programSize()} steps, expected at most ${MAX_REGEX_SIZE}`,
      );
    return text;
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
