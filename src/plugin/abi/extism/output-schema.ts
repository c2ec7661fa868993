/** The schema of hook outputs. Unknown keys are errors, so that a misspelt key is reported. */
import { LIMIT } from "../../../abi/abi.ts";
import { Fault } from "../../host/fault.ts";

/** Headers by name: a value, or several. */
export type Fields = { readonly [name: string]: string | readonly string[] };

/** Checks that a value at a path has the type. @throws Fault */
type Check<T> = ((value: unknown, at: string) => void) & { readonly type?: T };
type Infer<C> = C extends Check<infer T> ? T : never;

const text: Check<string> = (value, at) => void (typeof value === "string" || expect(at, "a text", value));
// `Buffer.from` skips what is not base64.
const base64: Check<string> = (value, at) => {
  text(value, at);
  const digits = value as string;
  if (digits.length % 4 === 1 || !/^[A-Za-z0-9+/]*={0,2}$/.test(digits)) expect(at, "base64", digits);
};
const flag: Check<boolean> = (value, at) => void (typeof value === "boolean" || expect(at, "true or false", value));
const integer = (least: number, most: number, what: string): Check<number> => {
  return (value, at) => {
    if (!Number.isInteger(value) || Number(value) < least || Number(value) > most) expect(at, what, value);
  };
};
const texts: Check<readonly string[]> = (value, at) => {
  if (!Array.isArray(value)) expect(at, "a list of texts", value);
  for (const one of value as unknown[]) text(one, at);
};
const fields: Check<Fields> = (value, at) => {
  if (typeof value !== "object" || value === null || Array.isArray(value)) expect(at, "header fields by name", value);
  const named = value as Record<string, unknown>;
  for (const name in named) {
    const one = named[name];
    if (typeof one === "string") continue;
    if (Array.isArray(one)) texts(one, `${at}.${name}`);
    else text(one, `${at}.${name}`);
  }
};

/** An object with no other keys than these. */
function object<const M extends { readonly [key: string]: Check<unknown> }>(
  members: M,
): Check<{ readonly [K in keyof M]?: Infer<M[K]> }> {
  return (value, at) => {
    if (typeof value !== "object" || value === null || Array.isArray(value)) expect(at, "an object", value);
    const object = value as Record<string, unknown>;
    for (const key in object) {
      const path = at === "" ? key : `${at}.${key}`;
      if (!Object.hasOwn(members, key))
        throw new Fault(
          "bad_result",
          `the output has an unknown key ${show(path)}, expected one of ${Object.keys(members).join(", ")}`,
        );
      members[key]!(object[key], path);
    }
  };
}

/** Rejects an object that has a key and one of the others beside it, of which only one would take effect. */
function exclusive<T>(check: Check<T>, ...keys: readonly (readonly [key: string, ...others: string[]])[]): Check<T> {
  return (value, at) => {
    check(value, at);
    const members = value as Readonly<Record<string, unknown>>;
    const isSet = (name: string) => members[name] !== undefined && members[name] !== false;
    for (const [key, ...others] of keys) {
      const other = isSet(key) ? others.find(isSet) : undefined;
      if (other === undefined) continue;
      const path = at === "" ? "" : `${at}.`;
      throw new Fault("bad_result", `the output has both ${show(path + key)} and ${show(path + other)}, expected one`);
    }
  };
}

const status = integer(200, 599, "a whole number from 200 to 599");
const edits = { set: fields, add: fields, remove: texts };
const headers = object(edits);
/** `own`: the client's fields of these names, in any spelling, do not reach the endpoint (`header_own` of the native ABI). */
const requestHeaders = object({ own: texts, ...edits });
const respond = exclusive(object({ status, headers: fields, body: text, bodyBase64: base64 }), ["body", "bodyBase64"]);
const { shortestTick, longestTick } = LIMIT;
const interval = integer(shortestTick, longestTick, `milliseconds from ${shortestTick} to ${longestTick}`);
const target = { method: text, path: text, query: text, headers: requestHeaders, cluster: text, strategy: text };

/** The outputs of hooks, by kind. */
const CHECKS = {
  request: exclusive(
    object({ ...target, respond, reject: flag, buffer: flag }),
    ["respond", "reject", "buffer"],
    ["reject", "buffer"],
  ),
  route: exclusive(object({ ...target, respond, reject: flag }), ["respond", "reject"]),
  response: exclusive(object({ status, headers, respond, buffer: flag }), ["respond", "status", "headers", "buffer"]),
  connection: exclusive(object({ cluster: text, reject: flag }), ["reject", "cluster"]),
  health: object({ healthy: flag }),
  tick: object({ every: interval }),
  pick: integer(-1, Number.POSITIVE_INFINITY, "the index of an endpoint, or -1"),
};
type Kind = keyof typeof CHECKS;
export type Output<K extends Kind> = Infer<(typeof CHECKS)[K]>;

/** Most cached outputs: usual filters have a few different ones, and parsing is the most expensive step. */
const REMEMBERED = 16;
const LONGEST = 512;

/** The cached outputs of one kind of one guest. */
export class Outputs<K extends Kind> {
  readonly #kind: K;
  readonly #known: { readonly bytes: Buffer; readonly output: Output<K> }[] = [];

  constructor(kind: K) {
    this.#kind = kind;
  }

  /** Parses and validates the output `bytes[start, end)`. @throws Fault if it does not match the schema */
  parse(bytes: Buffer, start: number, end: number): Output<K> {
    const known = this.#known;
    for (let i = 0; i < known.length; i++) if (isSame(known[i]!.bytes, bytes, start, end)) return known[i]!.output;
    const output = parseOutput(this.#kind, bytes.toString("utf8", start, end)) as Output<K>;
    if (end - start > LONGEST) return output;
    if (known.length >= REMEMBERED) known.length = 0;
    known.push({ bytes: Buffer.from(bytes.subarray(start, end)), output });
    return output;
  }
}

/** Compares from the end: outputs of one filter usually differ there, and begin alike. */
function isSame(known: Buffer, bytes: Buffer, start: number, end: number): boolean {
  const { length } = known;
  if (length !== end - start) return false;
  let i = length - 1;
  while (i >= 0 && known[i] === bytes[start + i]) i--;
  return i < 0;
}

function parseOutput(kind: Kind, json: string): unknown {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch (error) {
    throw new Fault("bad_result", `the output is not JSON: ${(error as Error).message.slice(0, 200)}`);
  }
  CHECKS[kind](value, "");
  return value;
}

function expect(at: string, what: string, value: unknown): never {
  const where = at === "" ? "the output" : `the output's ${show(at)}`;
  throw new Fault("bad_result", `${where} is ${describe(value)}, expected ${what}`);
}

/** What a value is, for messages. */
export function describe(value: unknown): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "a list";
  return typeof value === "object" ? "an object" : show(String(value));
}

function show(text: string): string {
  return JSON.stringify(text.length > 60 ? `${text.slice(0, 60)}…` : text);
}
