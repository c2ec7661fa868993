/** `log.access`: the fields of a line, which requests are logged, and where lines are written. */
import { isProxyValue, PROXY_VALUES } from "../net/proxy-values.ts";
import { ACCESS_FIELDS, DEFAULT_ACCESS_FIELDS } from "../observe/series.ts";
import { grpcStatusSet, statuses } from "./http-values.ts";
import { findNearest } from "./place.ts";
import {
  convert,
  InvalidValue,
  list,
  object,
  oneOrMore,
  optional,
  type ScalarShape,
  scalar,
  withDefault,
} from "./shape.ts";
import { choice, duration, filePath, flag, percentage } from "./values.ts";

/** Headers: of the request as the client sent it, of the request as the endpoint got it, of the response. */
const HEADER = /^(header|upstream|response):[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}$/;
const KEY = /^[A-Za-z_][A-Za-z0-9_.-]{0,63}$/;
const DEFAULT = "default";

export type AccessField = {
  /** The key in the line. */
  readonly key: string;
  /** One of ACCESS_FIELDS, or `header:NAME`, `upstream:NAME`, `response:NAME` (the name in lower case), `proxy:NAME`. */
  readonly source: string;
};

const accessField: ScalarShape<string> = scalar(
  "a field such as status, header:x-tenant or tenant=header:x-tenant",
  { type: "string" },
  (text) => {
    const [, key, source = ""] = /^(?:([^=:]*)=)?(.*)$/s.exec(text)!;
    if (key !== undefined && !KEY.test(key))
      throw new InvalidValue(`"${key}" is not a key: expected letters, digits, "_", "-" and ".", a letter first`);
    if (HEADER.test(source)) return key === undefined ? source.toLowerCase() : `${key}=${source.toLowerCase()}`;
    if (source.startsWith("proxy:") && isProxyValue(source.slice("proxy:".length))) return text;
    const names: readonly string[] = [...ACCESS_FIELDS, DEFAULT, ...PROXY_VALUES.map((name) => `proxy:${name}`)];
    if (names.includes(source) && (source !== DEFAULT || key === undefined)) return text;
    const nearest = findNearest(source, names);
    throw new InvalidValue(
      `unknown field "${source}", ${nearest === undefined ? "" : `did you mean ${nearest}? `}expected one of ${names.join(", ")}, proxy:tlv_XX, header:NAME, upstream:NAME, response:NAME`,
    );
  },
);

const accessFields = convert(list(accessField), (texts, at, { report }) => {
  const fields = texts.flatMap((text): AccessField[] => {
    if (text === DEFAULT) return DEFAULT_ACCESS_FIELDS.map((name) => ({ key: name, source: name }));
    const equals = text.indexOf("=");
    return [{ key: equals < 0 ? text : text.slice(0, equals), source: text.slice(equals + 1) }];
  });
  const keys = new Set<string>();
  for (const { key } of fields) {
    if (keys.has(key)) report(at, `duplicate key ${key}`);
    keys.add(key);
  }
  return fields;
});

const condition = object({
  status: optional(oneOrMore(statuses), "A status or a class of them, such as 404 or 5xx; or a list."),
  grpcStatus: optional(
    oneOrMore(grpcStatusSet),
    "Of gRPC calls: a status by name or number, such as `unavailable` or 14, or a list; `error`: all but `ok`. Their `status` is 200.",
  ),
  slowerThan: optional(
    duration("1ms", "24h"),
    "Requests that took this long or longer, from the first byte of the request to the end of the response.",
  ),
  share: withDefault(percentage, "100%", "Share of the requests that match the other keys."),
});

export const accessLog = convert(
  object(
    {
      enabled: withDefault(
        flag,
        true,
        "Write a line for each request, at its end. `access: true` is short for a map with this key; default: no access log.",
      ),
      format: withDefault(
        choice(["json", "combined"]),
        "json",
        "JSON objects, or the combined format of nginx and Apache.",
      ),
      fields: withDefault(
        accessFields,
        [DEFAULT],
        "Fields of a JSON line, in order. `default` includes the default fields; `header:NAME` is a header of the request as the client sent it, `upstream:NAME` one as the endpoint got it, `response:NAME` one of the response; `proxy:NAME` is a value of the PROXY protocol header of the connection; `KEY=FIELD` renames a field. Fields set by plugins follow.",
      ),
      file: optional(
        convert(filePath, (path, at, conversion) => ({ path: conversion.resolvePath(path), at })),
        "A file to which lines are appended, relative to this file. Reopened on SIGUSR1 and SIGHUP. Default: standard output.",
      ),
      where: withDefault(
        oneOrMore(condition),
        [],
        "Conditions for a line: in a map all keys must match, in a list one of the maps. Default: every request.",
      ),
    },
    { shorthand: { scalar: "enabled" } },
  ),
  (value, at, { report }) => {
    const { enabled, ...rest } = value;
    if (rest.format === "combined" && !isDefault(rest.fields))
      report(at, "format: combined has fixed fields, expected no `fields`, or format: json");
    return enabled ? rest : (false as const);
  },
);

function isDefault(fields: readonly AccessField[]): boolean {
  const usual: readonly string[] = DEFAULT_ACCESS_FIELDS;
  return fields.length === usual.length && fields.every(({ key }, index) => key === usual[index]);
}
