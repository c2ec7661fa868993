/**
 * A trace as a test brings it: a file that somebody sent, so nothing in it is believed. What is not as a trace has it is
 * told with its place, and everything is bounded.
 */
import { readFileSync, statSync } from "node:fs";
import type { Hook } from "../abi/abi.ts";
import { isFieldValue, isToken } from "../http/fields.ts";
import { MASKED } from "../trace/mask.ts";
import type { Change } from "../trace/snapshot-diff.ts";
import { CUT, type FieldList, type HookStep, MAX_STEPS, type Step, type TraceRecord } from "../trace/trace.ts";

/** What of a trace a replay goes by. */
export type TraceFile = {
  /** When the request's head was there, in milliseconds since 1970. */
  readonly time: number;
  readonly client: string;
  readonly listener: string;
  readonly request: TraceRecord["request"];
  readonly fetchAnswer: number | null;
  readonly steps: readonly Step[];
  /** Bytes of the answer's body. */
  readonly sent: number;
  readonly cut: boolean;
};

const MAX_FILE = 4 * 1024 * 1024;
/** Of all texts, of all entries of lists, and of one text. */
const MAX_TEXT = 2 * 1024 * 1024;
const MAX_ENTRIES = 50_000;
const MAX_VALUE = 64 * 1024;
const MAX_NAME = 300;
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,3})?Z$/;
const WHAT = /^(?:method|scheme|authority|path|query|status|(?:header|trailer) (.+))$/;
const RESULT = /^(?:continue|respond|reject|hold|failed|unfinished|quarantined|-1|\d{1,6})$/;
const HOOKS_TRACED: readonly Hook[] = [
  "connection",
  "request_head",
  "route",
  "request_body",
  "request_trailers",
  "response_head",
  "response_body",
  "response_trailers",
  "log",
  "pick",
  "outcome",
];
const STATUS = /^[1-9]\d\d$/;

/** @throws TypeError naming the place in the trace that is not as expected. */
export function readTrace(given: unknown): TraceFile {
  return new Reader().trace(given);
}

/** @throws Error when it cannot be read, or is no JSON. */
export function loadTrace(path: string): unknown {
  const { size } = statSync(path);
  if (size > MAX_FILE) throw new Error(`${path} has ${size} bytes, a trace has at most ${MAX_FILE}`);
  try {
    return JSON.parse(readFileSync(path, "utf8"));
  } catch (error) {
    throw new Error(`${path} is no trace: ${error instanceof Error ? error.message : String(error)}`);
  }
}

type Fields = Readonly<Record<string, unknown>>;

class Reader {
  #text = 0;
  #entries = 0;

  trace(given: unknown): TraceFile {
    const at = "trace";
    const trace = this.#object(given, at);
    const { request, answer } = trace;
    const time = this.#string(trace.time, `${at}.time`, { most: 30 });
    if (!TIME.test(time) || Number.isNaN(Date.parse(time)))
      refuse(`${at}.time`, time, "a time such as 2026-01-31T12:00:00.000Z");
    const steps = this.#list(trace.steps, `${at}.steps`, {
      most: MAX_STEPS,
      read: (step, here) => this.#step(step, here),
    });
    return {
      time: Date.parse(time),
      client: this.#string(trace.client, `${at}.client`, { most: MAX_NAME }),
      listener: this.#string(trace.listener, `${at}.listener`, { most: MAX_NAME }),
      request: this.#request(request, `${at}.request`),
      fetchAnswer: this.#optional(trace.fetchAnswer, (value) => this.#status(value, `${at}.fetchAnswer`)) ?? null,
      steps,
      sent: this.#count(this.#object(answer, `${at}.answer`).body, `${at}.answer.body`),
      cut: trace.cut === true,
    };
  }

  #request(value: unknown, at: string): TraceRecord["request"] {
    const { method, scheme, protocol, authority, target, headers } = this.#object(value, at);
    if (protocol !== undefined && protocol !== "1.0") refuse(`${at}.protocol`, protocol, "1.0, or nothing");
    return {
      method: this.#token(method, `${at}.method`),
      ...(scheme === undefined ? {} : { scheme: this.#value(scheme, `${at}.scheme`) }),
      ...(protocol === undefined ? {} : { protocol: "1.0" as const }),
      authority: this.#value(authority, `${at}.authority`),
      target: this.#value(target, `${at}.target`),
      headers: this.#pairs(headers, `${at}.headers`, (name, here) => this.#token(name, here)),
    };
  }

  #step(value: unknown, at: string): Step {
    const step = this.#object(value, at);
    const when = this.#count(step.at, `${at}.at`);
    switch (step.step) {
      case "hook":
        return this.#hook(step, at, when);
      case "came":
        return { step: "came", at: when, edits: this.#edits(step.edits, `${at}.edits`) };
      case "route": {
        const route = step.route === null ? null : this.#string(step.route, `${at}.route`, { most: MAX_NAME });
        return { step: "route", at: when, route, rules: [] };
      }
      case "cluster":
        return { step: "cluster", at: when, cluster: this.#name(step.cluster, `${at}.cluster`), by: "rule" };
      case "pick":
        return this.#pick(step, at, when);
      case "attempt":
        return this.#attempt(step, at, when);
      default:
        return refuse(`${at}.step`, step.step, "hook, came, route, cluster, pick or attempt");
    }
  }

  #hook(step: Fields, at: string, when: number): HookStep {
    const { failure, cluster, strategy, shared, body, use } = step;
    const result = this.#string(step.result, `${at}.result`, { most: 20 });
    if (!RESULT.test(result)) refuse(`${at}.result`, result, "what a hook answers, such as continue");
    return {
      step: "hook",
      at: when,
      hook: this.#hookName(step.hook, `${at}.hook`),
      plugin: this.#name(step.plugin, `${at}.plugin`),
      ...(use === undefined ? {} : { use: this.#count(use, `${at}.use`) }),
      took: this.#count(step.took, `${at}.took`),
      fuel: this.#count(step.fuel, `${at}.fuel`),
      calls: this.#calls(step.calls, `${at}.calls`),
      result,
      ...(failure === undefined ? {} : { failure: this.#failure(failure, `${at}.failure`) }),
      edits: this.#edits(step.edits, `${at}.edits`),
      ...(cluster === undefined ? {} : { cluster: this.#name(cluster, `${at}.cluster`) }),
      ...(strategy === undefined ? {} : { strategy: this.#name(strategy, `${at}.strategy`) }),
      ...(shared === undefined
        ? {}
        : { shared: this.#pairs(shared, `${at}.shared`, (name, here) => this.#bytes(name, here)) }),
      ...(body === undefined ? {} : { body: this.#piece(body, `${at}.body`) }),
      log: this.#list(step.log, `${at}.log`, {
        most: 1000,
        read: (line, here) => {
          const { level, text } = this.#object(line, here);
          return { level: this.#name(level, `${here}.level`), text: this.#string(text, `${here}.text`) };
        },
      }),
    };
  }

  #hookName(value: unknown, at: string): string {
    return HOOKS_TRACED.find((hook) => hook === value) ?? refuse(at, value, HOOKS_TRACED.join(", "));
  }

  #calls(value: unknown, at: string): Record<string, number> {
    const entries = Object.entries(this.#object(value, at));
    this.#take(entries.length, at);
    // No name in it sets a prototype: entries become fields of the object's own.
    return Object.fromEntries(
      entries.map(([name, count]) => [this.#name(name, at), this.#count(count, `${at}.${name.slice(0, 40)}`)]),
    );
  }

  #failure(value: unknown, at: string): { reason: string; message: string } {
    const { reason, message } = this.#object(value, at);
    return { reason: this.#name(reason, `${at}.reason`), message: this.#string(message, `${at}.message`) };
  }

  #piece(value: unknown, at: string): NonNullable<HookStep["body"]> {
    const { before, after, last, seen, passed } = this.#object(value, at);
    const read = (text: unknown, here: string, size: number): string => {
      const content = this.#string(text, here);
      const length = Buffer.byteLength(content);
      if (length !== size) refuse(here, content, `a text of ${size} bytes, as its size says, not of ${length}`);
      return content;
    };
    const sizes = { before: this.#count(before, `${at}.before`), after: this.#count(after, `${at}.after`) };
    if (typeof last !== "boolean") refuse(`${at}.last`, last, "true or false");
    return {
      ...sizes,
      last: last === true,
      ...(seen === undefined ? {} : { seen: read(seen, `${at}.seen`, sizes.before) }),
      ...(passed === undefined ? {} : { passed: read(passed, `${at}.passed`, sizes.after) }),
    };
  }

  #pick(step: Fields, at: string, when: number): Step {
    const { endpoint } = step;
    const candidates = this.#list(step.candidates, `${at}.candidates`, {
      most: MAX_ENTRIES,
      read: (value, here) => {
        const candidate = this.#object(value, here);
        return {
          endpoint: this.#name(candidate.endpoint, `${here}.endpoint`),
          weight: this.#count(candidate.weight, `${here}.weight`, 1000),
          zone: this.#string(candidate.zone, `${here}.zone`, { most: MAX_NAME }),
          inFlight: this.#count(candidate.inFlight, `${here}.inFlight`),
          latency: this.#number(candidate.latency, `${here}.latency`, 2 ** 31),
          latencyAge: this.#number(candidate.latencyAge ?? 0, `${here}.latencyAge`, 2 ** 31),
          errorRate: this.#number(candidate.errorRate, `${here}.errorRate`, 1),
          out: this.#string(candidate.out, `${here}.out`, { most: 40 }),
        };
      },
    });
    return {
      step: "pick",
      at: when,
      cluster: this.#name(step.cluster, `${at}.cluster`),
      strategy: this.#string(step.strategy, `${at}.strategy`, { most: MAX_NAME }),
      endpoint: endpoint === null ? null : this.#name(endpoint, `${at}.endpoint`),
      by: endpoint === null ? "nobody" : "strategy",
      candidates,
    };
  }

  #attempt(step: Fields, at: string, when: number): Step {
    const { status, failed } = step;
    if (typeof failed !== "boolean") refuse(`${at}.failed`, failed, "true or false");
    return {
      step: "attempt",
      at: when,
      endpoint: this.#name(step.endpoint, `${at}.endpoint`),
      status: status === 0 ? 0 : this.#status(status, `${at}.status`),
      failed: failed === true,
      took: this.#count(step.took, `${at}.took`),
      reused: false,
    };
  }

  #edits(value: unknown, at: string): readonly Change[] {
    return this.#list(value, at, {
      most: 2000,
      read: (edit, here) => {
        const { of, what, before, after } = this.#object(edit, here);
        if (of !== "request" && of !== "response") return refuse(`${here}.of`, of, "request or response");
        const name = this.#what(what, `${here}.what`);
        const values = (list: unknown, place: string) =>
          this.#list(list, place, { most: 1000, read: (one, there) => this.#edited(name, one, there) });
        return { of, what: name, before: values(before, `${here}.before`), after: values(after, `${here}.after`) };
      },
    });
  }

  #what(value: unknown, at: string): string {
    const what = this.#string(value, at);
    if (what.endsWith(CUT)) return what;
    const match = WHAT.exec(what);
    if (match === null) return refuse(at, what, "method, path, status, header NAME …");
    if (match[1] !== undefined) this.#token(match[1], at);
    return what;
  }

  #edited(what: string, value: unknown, at: string): string {
    const text = this.#value(value, at);
    if (what === "status" && text !== MASKED && !text.endsWith(CUT) && !STATUS.test(text))
      refuse(at, text, "a status of three digits");
    return text;
  }

  // ── What all of it is made of ─────────────────────────────────────────────────────────────────────────────────

  #object(value: unknown, at: string): Fields {
    if (typeof value !== "object" || value === null || Array.isArray(value)) refuse(at, value, "an object");
    return value as Fields;
  }

  #list<T>(value: unknown, at: string, { most, read }: { most: number; read: (item: unknown, at: string) => T }): T[] {
    if (!Array.isArray(value)) return refuse(at, value, "a list");
    if (value.length > most) throw new TypeError(`${at} has ${value.length} entries, expected at most ${most}`);
    this.#take(value.length, at);
    return Array.from(value, (item: unknown, index) => read(item, `${at}[${index}]`));
  }

  #take(entries: number, at: string): void {
    this.#entries += entries;
    if (this.#entries > MAX_ENTRIES) throw new TypeError(`${at}: the trace has more than ${MAX_ENTRIES} entries`);
  }

  #pairs(value: unknown, at: string, readName: (name: unknown, at: string) => string): FieldList {
    return this.#list(value, at, {
      most: 1000,
      read: (pair, here) => {
        if (!Array.isArray(pair) || pair.length !== 2) return refuse(here, pair, "a list of [name, value]");
        const name = readName(pair[0], `${here}[0]`);
        return [
          name,
          at.endsWith(".shared") ? this.#bytes(pair[1], `${here}[1]`) : this.#value(pair[1], `${here}[1]`),
        ] as const;
      },
    });
  }

  #string(value: unknown, at: string, { most = MAX_VALUE }: { most?: number } = {}): string {
    if (typeof value !== "string") return refuse(at, value, "a text");
    if (value.length > most) throw new TypeError(`${at} has ${value.length} characters, expected at most ${most}`);
    this.#text += value.length;
    if (this.#text > MAX_TEXT) throw new TypeError(`${at}: the trace has more than ${MAX_TEXT} characters`);
    return value;
  }

  /** A name of the configuration's, or an address. */
  #name(value: unknown, at: string): string {
    const name = this.#string(value, at, { most: MAX_NAME });
    if (name === "" || /[\0-\x1f\x7f]/.test(name)) refuse(at, name, "a name");
    return name;
  }

  /** One character a byte, but for the mark of what was cut. */
  #bytes(value: unknown, at: string): string {
    const text = this.#string(value, at);
    if (/[^\0-\xff]/.test(withoutCut(text))) refuse(at, text, "characters up to ÿ");
    return text;
  }

  #value(value: unknown, at: string): string {
    const text = this.#bytes(value, at);
    const bytes = Buffer.from(withoutCut(text), "latin1");
    if (!isFieldValue(bytes, 0, bytes.length)) refuse(at, text, "a value without control characters");
    return text;
  }

  #token(value: unknown, at: string): string {
    const text = this.#bytes(value, at);
    const bytes = Buffer.from(text, "latin1");
    if (!text.endsWith(CUT) && !isToken(bytes, 0, bytes.length)) refuse(at, text, "the name of a field or a method");
    return text;
  }

  #status(value: unknown, at: string): number {
    const status = this.#count(value, at, 999);
    return status < 100 ? refuse(at, status, "a status of three digits") : status;
  }

  #count(value: unknown, at: string, most = Number.MAX_SAFE_INTEGER): number {
    if (typeof value !== "number" || !Number.isInteger(value) || value < 0 || value > most)
      return refuse(at, value, `a whole number up to ${most}`);
    return value;
  }

  #number(value: unknown, at: string, most: number): number {
    if (typeof value !== "number" || !(value >= 0) || value > most) return refuse(at, value, `a number up to ${most}`);
    return value;
  }

  #optional<T>(value: unknown, read: (value: unknown) => T): T | undefined {
    return value === undefined ? undefined : read(value);
  }
}

function withoutCut(text: string): string {
  return text.endsWith(CUT) ? text.slice(0, -CUT.length) : text;
}

function refuse(at: string, value: unknown, expected: string): never {
  throw new TypeError(`${at} is ${show(value)}, expected ${expected}`);
}

/** What stands in the file may be long, or steer a terminal. */
function show(value: unknown): string {
  if (value === undefined) return "missing";
  if (typeof value === "string") return JSON.stringify(value.length > 60 ? `${value.slice(0, 60)}…` : value);
  if (typeof value === "object" && value !== null) return Array.isArray(value) ? "a list" : "an object";
  return String(value);
}
