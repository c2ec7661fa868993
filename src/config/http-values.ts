/** Scalar types of HTTP: header names and values, methods, statuses, paths. */
import { RE2JS } from "re2js";
import { GRPC, GRPC_STATUSES } from "../http/grpc.ts";
import { normalizePathText, normalizeTargetText } from "../http/path-text.ts";
import { adviseRetry } from "./peer-words.ts";
import { findNearest } from "./place.ts";
import { InvalidValue, type ScalarShape, scalar } from "./shape.ts";

const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;

/** Of an expression, in steps. Matching takes up to 1.5 ns a step and byte: 50 ms for a text of 16 KiB at worst. */
const MAX_REGEX_SIZE = 2000;

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

export const cookieName: ScalarShape<string> = scalar("the name of a cookie", { type: "string" }, (text) =>
  TOKEN.test(text) ? text : undefined,
);

/** Any value that a cookie can have in a header: RFC 6265 section 4.1.1, and what browsers send beyond it. */
export const cookieValue: ScalarShape<string> = scalar(
  "the value of a cookie without semicolon and control characters",
  { type: ["string", "number", "boolean"] },
  (text) => (/^[^\0-\x1f\x7f;]*$/.test(text) ? text.trim() : undefined),
);

/** Methods are case-sensitive (RFC 9110 section 9.1); a lower-case one would never match, so it is rejected. */
export const method: ScalarShape<string> = scalar(
  "a method such as GET, in capitals",
  { type: "string", pattern: "^[^a-z]+$" },
  (text) => {
    if (text === "*" || /^(any|all)$/i.test(text))
      throw new InvalidValue(`invalid value "${text}": expected a method such as GET, or no key "method" for all`);
    return TOKEN.test(text) && !/[a-z]/.test(text) ? text : undefined;
  },
);

/** A protocol name with an optional version (RFC 9110 section 7.8). HTTP in a tunnel would pass all routes and plugins. */
export const upgradeProtocol: ScalarShape<string> = scalar(
  "the name of a protocol such as websocket, other than h2c, HTTP and TLS",
  { type: "string", pattern: "^[!#$%&'*+.^_`|~0-9A-Za-z-]+(/[!#$%&'*+.^_`|~0-9A-Za-z-]+)?$" },
  (text) => {
    const [name, version = "0", ...rest] = text.split("/");
    const isName = TOKEN.test(name!) && TOKEN.test(version) && rest.length === 0;
    return isName && !/^(h2c?|https?|tls)$/i.test(name!) ? text : undefined;
  },
);

const RETRY_CAUSES = [
  "connect",
  "reset",
  "timeout",
  "cancelled",
  "deadline-exceeded",
  "internal",
  "resource-exhausted",
  "unavailable",
] as const;

export type RetryReason = (typeof RETRY_CAUSES)[number] | number;

/** A cause, a status of gRPC, or a 4xx or 5xx status. */
export const retryReason: ScalarShape<RetryReason> = scalar(
  "connect, reset, timeout, a status code from 400 to 599, or one of gRPC's: cancelled, deadline-exceeded, internal, resource-exhausted, unavailable",
  { anyOf: [{ enum: RETRY_CAUSES }, { type: "integer", minimum: 400, maximum: 599 }] },
  (text) => {
    if (/^[45]\d\d$/.test(text)) return Number(text);
    const cause = RETRY_CAUSES.find((one) => one === text);
    const advice = cause === undefined ? adviseRetry(text) : undefined;
    if (advice !== undefined) throw new InvalidValue(`"${text}" is not known, expected ${advice}`);
    const near = cause ?? findNearest(text.replace("_", "-"), RETRY_CAUSES);
    if (cause === undefined && near !== undefined)
      throw new InvalidValue(`"${text}" is not known, did you mean "${near}"`);
    return cause;
  },
);

/** By name: `deadline-exceeded`. */
const GRPC_CODES = new Map(
  Object.entries(GRPC).map(([name, code]) => [name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`), code]),
);
const ANY_GRPC_ERROR = "error";
/** All codes but `ok`, unknown ones included. */
const GRPC_ERRORS = (1 << (GRPC_STATUSES + 1)) - 1 - (1 << GRPC.ok);

/** Statuses of gRPC as a set: a bit for each code. */
export const grpcStatusSet: ScalarShape<number> = scalar(
  `a status of gRPC, by name (${[...GRPC_CODES.keys()].join(", ")}) or number, or ${ANY_GRPC_ERROR} for all but ok`,
  {
    anyOf: [
      { enum: [ANY_GRPC_ERROR, ...GRPC_CODES.keys()] },
      { type: "integer", minimum: 0, maximum: GRPC_STATUSES - 1 },
    ],
  },
  (text) => {
    if (text === ANY_GRPC_ERROR) return GRPC_ERRORS;
    if (/^\d{1,2}$/.test(text)) return Number(text) < GRPC_STATUSES ? 1 << Number(text) : undefined;
    const code = GRPC_CODES.get(text);
    if (code !== undefined) return 1 << code;
    const near = findNearest(text.replaceAll("_", "-"), GRPC_CODES.keys());
    if (near !== undefined) throw new InvalidValue(`"${text}" is not known, did you mean "${near}"`);
    return undefined;
  },
);

/** A gRPC method as in paths: `package.Service/Method`. */
export const grpcMethod: ScalarShape<string> = scalar(
  "a gRPC method such as shop.Cart/Add",
  { type: "string", pattern: "^[A-Za-z_][A-Za-z0-9_.]*/[A-Za-z_][A-Za-z0-9_]*$" },
  (text) => (/^[A-Za-z_][A-Za-z0-9_.]*\/[A-Za-z_][A-Za-z0-9_]*$/.test(text) && text.length <= 256 ? text : undefined),
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

/** The exact path of a route, normalised like paths of requests. */
export const pathPattern: ScalarShape<string> = scalar(
  "a path that begins with /",
  { type: "string", pattern: "^/|\\$\\{" },
  (text) => normalizePattern(text, false),
);

/** A path prefix; it may end within a segment, so `/.` matches `/.well-known`. */
export const pathPrefix: ScalarShape<string> = scalar(
  "the beginning of a path that starts with /",
  { type: "string", pattern: "^/|\\$\\{" },
  (text) => normalizePattern(text, true),
);

/**
 * What of a path looks like a pattern of another program, and is compared as it is: `/api/*`, `/users/:id`,
 * `/users/{id}`; undefined if nothing does.
 */
export function findWildcard(path: string): string | undefined {
  return /\*+|(?<=\/):[A-Za-z_]\w*(?=\/|$)|\{\w+\}/.exec(path)?.[0];
}

/** `open`: more may follow within the last segment. */
function normalizePattern(text: string, open: boolean): string | undefined {
  if (!text.startsWith("/")) return undefined;
  const never = (what: string) => new InvalidValue(`"${text}" can never match: ${what}`);
  if (/[?#]/.test(text)) throw never('a path has no "?" or "#", expected the query under `query`');
  const path = /[\0-\x1f\x7f]/.test(text) ? null : normalizePathText(open ? `${text}x` : text);
  if (path === null) throw never("such a path is rejected with 400");
  if (countSlashes(path) !== countSlashes(text)) throw never('"." and ".." are resolved before routes are matched');
  return open ? path.slice(0, -1) : path;
}

function countSlashes(path: string): number {
  return path.split("/").length;
}

/** A regular expression in RE2 syntax; matching time is linear in the text. */
export const regex: ScalarShape<string> = scalar("a regular expression (RE2 syntax)", { type: "string" }, (text) => {
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
});
