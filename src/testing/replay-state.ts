/** Restores the exchange as it was before each recorded call, by applying the steps before it. */

import { isFieldValue, isToken, nameId } from "../http/fields.ts";
import { FIELD_WORDS, Head, PART, VALUE_END, VALUE_START } from "../http/head.ts";
import { VERSION, VERSION_NUMBERS } from "../http/protocol.ts";
import { scanRequest } from "../http1/scan.ts";
import { ExchangeValue } from "../plugin/abi/exchange-value.ts";
import { Exchange } from "../proxy/exchange.ts";
import { requestBody, responseBody } from "../proxy/filtered-body.ts";
import { MASKED } from "../trace/mask.ts";
import { type Change, CUT, type HookStep, type Step, type TraceRecord } from "../trace/record.ts";
import { applyChanges, captureState, compare, type MessageState } from "../trace/snapshot-diff.ts";
import type { Names } from "../trace/trace.ts";
import { fill, LIMITS } from "./messages.ts";

const PARTS: Readonly<Record<string, number>> = PART;
/** Prefix of the keys of shared values (`plugin/abi/native/calls-exchange.ts`). */
const SHARED = "\0";
const TRAILERS = 256;

/** Replacements for masked and truncated values, by the lower-case name of the header, parameter or shared value. */
export type Revealed = ReadonlyMap<string, string>;

export class ReplayState {
  readonly exchange = new Exchange();
  /** The address of the last pick. */
  endpoint: string | null = null;
  readonly #names: Names;
  readonly #trace: TraceRecord;
  readonly #revealed: Revealed;
  readonly #state: MessageState;
  readonly #shared = new Map<string, string>();
  #cluster = -1;
  #strategy = -1;
  /** Why no further call can be replayed; empty if it can. */
  #lost = "";

  constructor(trace: TraceRecord, { revealed, names }: { revealed: Revealed; names: Names }) {
    this.#trace = trace;
    this.#names = names;
    this.#revealed = revealed;
    this.#state = receivedState(trace);
    const { exchange: x } = this;
    x.id = 1;
    x.clientAddress = trace.client;
    x.listenerName = trace.listener;
    x.bytesSent = trace.response.body;
    if (trace.request.headers.some(([name]) => name.endsWith(CUT)))
      this.#lost = "the trace is truncated in the request's headers";
  }

  /** Applies a recorded step. */
  follow(step: Step): void {
    const { exchange: x } = this;
    switch (step.step) {
      case "received":
        this.#apply(step.edits);
        break;
      case "hook":
        this.#followHook(step);
        break;
      case "route":
        x.routeName = step.route ?? "";
        break;
      case "cluster":
        x.clusterName = step.cluster;
        break;
      case "pick":
        this.endpoint = step.endpoint;
        if (step.endpoint !== null) x.attempts++;
        x.attempt.respondedAt = 0;
        break;
      case "attempt":
        if (step.status !== 0) x.attempt.respondedAt = 1;
    }
  }

  #followHook({ hook, result, edits, shared = [], cluster, strategy }: HookStep): void {
    const { exchange: x } = this;
    this.#apply(edits);
    for (const [name, value] of shared) this.#shared.set(name, value);
    if (result === "buffer" && hook === "request_head") requestBody(x).buffered = true;
    if (result === "buffer" && hook === "response_head") responseBody(x).buffered = true;
    // The recorded choice replaces that of the replayed call.
    if (cluster !== undefined) this.#cluster = this.#names.clusters.indexOf(cluster);
    if (strategy !== undefined) this.#strategy = this.#names.strategies.indexOf(strategy);
  }

  /** Restores the exchange for the next call. Returns why it cannot be restored; empty if it was. */
  restore(): string {
    if (this.#lost !== "") return this.#lost;
    try {
      return this.#restoreHeads() || this.#restoreShared();
    } catch (error) {
      // The head is malformed or exceeds a limit.
      return error instanceof Error ? error.message : String(error);
    }
  }

  #restoreHeads(): string {
    const { exchange: x } = this;
    const target: MessageState = new Map();
    for (const [key, entry] of this.#state) {
      const values = entry.values.map((value) => reveal(this.#revealed, entry.what, value));
      if (values.some((value) => value.endsWith(CUT)))
        return `the trace is truncated in ${entry.of === "response" ? "response " : ""}${entry.what}`;
      target.set(key, { ...entry, values });
    }
    this.#scan(x.request);
    x.scheme = this.#trace.request.scheme ?? "http";
    x.keepOriginal();
    x.response.reset();
    x.requestTrailers = x.responseTrailers = null;
    x.localStatus = 0;
    x.localBody = null;
    x.chosenCluster = this.#cluster;
    x.chosenStrategy = this.#strategy;
    x.startedAt = performance.now();
    for (const change of compare(captureState(x), target)) write(x, change);
    return "";
  }

  /** Parses the request as received with the proxy's own scanner, which sets framing and flags. */
  #scan(head: Head): void {
    const { method, protocol = "1.1", authority, target, headers } = this.#trace.request;
    const query = target.indexOf("?");
    const shown =
      query < 0 ? target : `${target.slice(0, query + 1)}${reveal(this.#revealed, "query", target.slice(query + 1))}`;
    const fields = headers.map(([name, value]) => [name, reveal(this.#revealed, `header ${name}`, value)] as const);
    const version = VERSION_NUMBERS.indexOf(protocol);
    // A request of HTTP/2 is checked as one of HTTP/1.1.
    fill(`${method} ${shown} HTTP/${VERSION_NUMBERS[Math.min(version, VERSION.http11)]}`, fields, head, (bytes) =>
      scanRequest(bytes, 0, bytes.length, head, LIMITS),
    );
    head.version = version;
    head.setPart(PART.authority, Buffer.from(authority, "latin1"), 0, authority.length);
  }

  #restoreShared(): string {
    for (const [name, value] of this.#shared) {
      if (value.endsWith(CUT)) return `the trace is truncated in the shared value ${name}`;
      const shown = value === MASKED ? (this.#revealed.get(name.toLowerCase()) ?? value) : value;
      const key = `${SHARED}${name}`;
      const values = (this.exchange.values ??= new Map<string, ExchangeValue>());
      values.set(key, new ExchangeValue(key, Buffer.from(shown, "latin1"), null));
    }
    return "";
  }

  #apply(edits: readonly Change[]): void {
    if (edits.some(({ what }) => what.endsWith(CUT))) this.#lost ||= "the trace is truncated before this call";
    else applyChanges(this.#state, edits);
  }
}

/** The request as received. */
function receivedState({ request: { method, authority, target, headers } }: TraceRecord): MessageState {
  const state: MessageState = new Map();
  const at = target.indexOf("?");
  const parts = {
    method,
    authority,
    path: at < 0 ? target : target.slice(0, at),
    query: at < 0 ? "" : target.slice(at + 1),
  };
  for (const [what, value] of Object.entries(parts))
    if (value !== "") state.set(`request ${what}`, { of: "request", what, values: [value] });
  const names = new Map<string, string[]>();
  for (const [name, value] of headers) names.getOrInsert(`header ${name.toLowerCase()}`, []).push(value);
  for (const [what, values] of names) state.set(`request ${what}`, { of: "request", what, values });
  return state;
}

/** Replaces a masked or truncated value by the test's. */
function reveal(revealed: Revealed, what: string, value: string): string {
  if (revealed.size === 0) return value;
  if (what === "query")
    return value.replaceAll(/([^=&#;\s?]+)=\*\*\*/g, (pair, name: string) => {
      const shown = revealed.get(name.toLowerCase());
      return shown === undefined ? pair : `${name}=${shown}`;
    });
  const shown = revealed.get(what.slice(what.indexOf(" ") + 1).toLowerCase());
  return shown !== undefined && (value === MASKED || value.endsWith(CUT)) ? shown : value;
}

/** @throws RangeError if the head exceeds its limits. */
function write(x: Exchange, { of, what, after }: Change): void {
  const [kind = "", name] = what.split(" ");
  if (kind === "status") x.response.status = Number(after[0] ?? 0) || 0;
  else if (name === undefined) {
    const text = after[0] ?? "";
    x.request.setPart(PARTS[kind]!, Buffer.from(text, "latin1"), 0, text.length);
  } else writeField(headFor(x, of, kind), name, after);
}

function headFor(x: Exchange, of: Change["of"], kind: string): Head {
  if (kind === "header") return of === "request" ? x.request : x.response;
  if (of === "request") return (x.requestTrailers ??= new Head(TRAILERS, 8));
  return (x.responseTrailers ??= new Head(TRAILERS, 8));
}

/** As `header_set` and `header_add`: replaces the first field of the name, removes others, appends further values. */
function writeField(head: Head, name: string, values: readonly string[]): void {
  const bytes = Buffer.from(name, "latin1");
  let rest = values;
  const [first] = values;
  const at = head.find(bytes, 0, bytes.length);
  if (first !== undefined && at >= 0) {
    const value = Buffer.from(first, "latin1");
    const start = head.append(value, 0, value.length);
    head.fields[at * FIELD_WORDS + VALUE_START] = start;
    head.fields[at * FIELD_WORDS + VALUE_END] = start + value.length;
    rest = values.slice(1);
  }
  const kept = rest === values ? 0 : 1;
  for (let i = head.find(bytes, 0, bytes.length, kept); i >= 0; i = head.find(bytes, 0, bytes.length, kept))
    head.removeAt(i);
  for (const value of rest) head.add(bytes, Buffer.from(value, "latin1"), nameId(bytes, 0, bytes.length));
}

/** @throws TypeError if a name or a value is not valid in a header. */
export function readRevealed(values: Readonly<Record<string, string>> = {}): Revealed {
  const revealed = new Map<string, string>();
  for (const [name, value] of Object.entries(values)) {
    const [token, content] = [Buffer.from(name, "latin1"), Buffer.from(value, "latin1")];
    if (!isToken(token, 0, token.length) || !isFieldValue(content, 0, content.length))
      throw new TypeError(`values: "${name}" with the value "${value}" is not a valid header`);
    revealed.set(name.toLowerCase(), value);
  }
  return revealed;
}
