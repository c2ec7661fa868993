/** Scalar types of the configuration: parsers of durations, sizes, addresses and others. */
import { findPart } from "./peer-words.ts";
import { findNearest } from "./place.ts";
import { InvalidValue, type ScalarShape, scalar } from "./shape.ts";

const UNITS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;

const SIZES = { "": 1, B: 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 } as const;

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

/** Timeouts between two events of a connection. */
export const idleTimeouts = duration("10ms", "24h");

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

/** Events per second: `10/s`, `600/m`. */
export const rate: ScalarShape<number> = scalar(
  "a rate such as 10/s or 600/m",
  { type: "string", pattern: "^\\d+/(s|m)$" },
  (text) => {
    const [, number, unit] = /^(\d{1,9})\/(s|m)$/.exec(text) ?? [];
    return Number(number) > 0 ? Number(number) / (unit === "m" ? 60 : 1) : undefined;
  },
);

/** Bytes per second: `512KiB/s`. */
export const byteRate: ScalarShape<number> = scalar(
  "a rate from 1KiB/s to 1024GiB/s, such as 512KiB/s or 10MiB/s",
  { type: "string", pattern: "^\\d+(\\.\\d+)?(B|KiB|MiB|GiB)?/s$" },
  (text) => {
    const value = text.endsWith("/s") ? parseSize(text.slice(0, -2)) : undefined;
    return value !== undefined && value >= 1024 && value <= 1024 ** 4 ? value : undefined;
  },
);

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

/** One of a set of words. `advice`: words of other proxies, each with what is reported, such as `did you mean "x"`. */
export function choice<const T extends string>(
  words: readonly T[],
  advice: Readonly<Record<string, string>> = {},
): ScalarShape<T> {
  const expected = words.length === 1 ? `${words[0]}` : `one of ${words.join(", ")}`;
  return scalar(expected, { enum: words }, (text) => {
    const word = words.find((one) => one === text);
    if (word !== undefined) return word;
    if (Object.hasOwn(advice, text)) throw new InvalidValue(`"${text}" is not known, ${advice[text]}`);
    const near = findNearest(text, words) ?? findPart(text, words);
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
