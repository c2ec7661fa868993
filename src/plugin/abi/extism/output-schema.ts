/** The schema of hook outputs. Unknown keys are errors, so that a misspelt key is reported. */
import { LIMIT } from "../../../abi/abi.ts";
import { Fault } from "../../host/fault.ts";

/** Headers by name: a value, or several. */
export type Fields = { readonly [name: string]: string | readonly string[] };

export type RequestOutput = {
  readonly method?: string;
  readonly path?: string;
  readonly query?: string;
  readonly headers?: RequestHeaderEdits;
  readonly cluster?: string;
  readonly strategy?: string;
  readonly respond?: LocalResponse;
  readonly reject?: boolean;
  readonly buffer?: boolean;
};
export type ResponseOutput = {
  readonly status?: number;
  readonly headers?: HeaderEdits;
  readonly respond?: LocalResponse;
  readonly buffer?: boolean;
};
export type ConnectionOutput = { readonly cluster?: string; readonly reject?: boolean };
export type HealthOutput = { readonly healthy?: boolean };
export type TickOutput = { readonly every?: number };
type HeaderEdits = { readonly set?: Fields; readonly add?: Fields; readonly remove?: readonly string[] };
/** `own`: the client's fields of these names, in any spelling, do not reach the endpoint (`header_own` of the native ABI). */
type RequestHeaderEdits = HeaderEdits & { readonly own?: readonly string[] };
type LocalResponse = {
  readonly status?: number;
  readonly headers?: Fields;
  readonly body?: string;
  readonly bodyBase64?: string;
};

/** Checks a value at a path. @throws Fault */
type Check = (value: unknown, at: string) => void;

const text: Check = (value, at) => void (typeof value === "string" || expect(at, "a text", value));
// `Buffer.from` skips what is not base64.
const base64: Check = (value, at) => {
  text(value, at);
  const digits = value as string;
  if (digits.length % 4 === 1 || !/^[A-Za-z0-9+/]*={0,2}$/.test(digits)) expect(at, "base64", digits);
};
const flag: Check = (value, at) => void (typeof value === "boolean" || expect(at, "true or false", value));
const status: Check = (value, at) =>
  void (
    (Number.isInteger(value) && (value as number) >= 200 && (value as number) <= 599) ||
    expect(at, "a whole number from 200 to 599", value)
  );
const texts: Check = (value, at) => {
  if (!Array.isArray(value)) expect(at, "a list of texts", value);
  for (const one of value as unknown[]) text(one, at);
};
const fields: Check = (value, at) => {
  if (typeof value !== "object" || value === null || Array.isArray(value)) expect(at, "header fields by name", value);
  const named = value as Record<string, unknown>;
  for (const name in named) {
    const one = named[name];
    if (typeof one === "string") continue;
    if (Array.isArray(one)) texts(one, `${at}.${name}`);
    else text(one, `${at}.${name}`);
  }
};

function object(members: { readonly [key: string]: Check }): Check {
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

const edits = { set: fields, add: fields, remove: texts };
const headers = object(edits);
const localResponse = object({ status, headers: fields, body: text, bodyBase64: base64 });
const respond: Check = (value, at) => {
  localResponse(value, at);
  exclude(value as LocalResponse, "body", ["bodyBase64"], at);
};
const interval: Check = (value, at) =>
  void (
    (Number.isInteger(value) && (value as number) >= LIMIT.shortestTick && (value as number) <= LIMIT.longestTick) ||
    expect(at, `milliseconds from ${LIMIT.shortestTick} to ${LIMIT.longestTick}`, value)
  );

/** Rejects an object that has `key` and one of `others`, of which only one would take effect. */
function exclude(value: object, key: string, others: readonly string[], at: string): void {
  const isSet = (name: string) => {
    const member = (value as Record<string, unknown>)[name];
    return member !== undefined && member !== false;
  };
  const other = isSet(key) ? others.find(isSet) : undefined;
  if (other === undefined) return;
  const path = at === "" ? "" : `${at}.`;
  throw new Fault("bad_result", `the output has both ${show(path + key)} and ${show(path + other)}, expected one`);
}

const routeMembers = {
  method: text,
  path: text,
  query: text,
  headers: object({ own: texts, ...edits }),
  cluster: text,
  strategy: text,
  respond,
  reject: flag,
};
const request = object({ ...routeMembers, buffer: flag });
const route = object(routeMembers);
const response = object({ status, headers, respond, buffer: flag });
const connection = object({ cluster: text, reject: flag });

const CHECKS: { readonly [kind: string]: Check } = {
  request: (value, at) => {
    request(value, at);
    exclude(value as RequestOutput, "respond", ["reject", "buffer"], at);
    exclude(value as RequestOutput, "reject", ["buffer"], at);
  },
  route: (value, at) => {
    route(value, at);
    exclude(value as RequestOutput, "respond", ["reject"], at);
  },
  response: (value, at) => {
    response(value, at);
    exclude(value as ResponseOutput, "respond", ["status", "headers", "buffer"], at);
  },
  connection: (value, at) => {
    connection(value, at);
    exclude(value as ConnectionOutput, "reject", ["cluster"], at);
  },
  health: object({ healthy: flag }),
  tick: object({ every: interval }),
  pick: (value, at) =>
    void ((Number.isInteger(value) && (value as number) >= -1) || expect(at, "the index of an endpoint, or -1", value)),
};
type Kind = "request" | "route" | "response" | "pick" | "connection" | "health" | "tick";

/** Most cached outputs: usual filters have a few different ones, and parsing is the most expensive step. */
const REMEMBERED = 16;
const LONGEST = 512;

/** The cached outputs of one kind of one guest. */
export class Outputs<Output> {
  readonly #kind: Kind;
  readonly #known: { readonly bytes: Buffer; readonly output: Output }[] = [];

  constructor(kind: Kind) {
    this.#kind = kind;
  }

  /** Parses and validates the output `bytes[start, end)`. @throws Fault if it does not match the schema */
  parse(bytes: Buffer, start: number, end: number): Output {
    const known = this.#known;
    for (let i = 0; i < known.length; i++) if (isSame(known[i]!.bytes, bytes, start, end)) return known[i]!.output;
    const output = parseOutput(this.#kind, bytes.toString("utf8", start, end)) as Output;
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
  CHECKS[kind]!(value, "");
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
