/** The exchange of a trace, as each of its steps leaves it: heads are made anew for each call that is replayed. */
import { isFieldValue, isToken, nameId } from "../http/fields.ts";
import { FIELD_WORDS, Head, PART, VALUE_END, VALUE_START } from "../http/head.ts";
import { scanRequest } from "../http1/scan.ts";
import { KeptValue } from "../plugin/abi/kept-value.ts";
import { Exchange } from "../proxy/exchange.ts";
import { MASKED } from "../trace/mask.ts";
import { applyChanges, type Change, compare, type Picture, takePicture } from "../trace/snapshot-diff.ts";
import { CUT, type HookStep, type Names, type Step } from "../trace/trace.ts";
import { fill, LIMITS } from "./messages.ts";
import type { TraceFile } from "./trace-file.ts";

const PARTS: Readonly<Record<string, number>> = PART;
/** How the name of a value begins that is shared (`plugin/abi/calls-exchange.ts`). */
const SHARED = "\0";
const TRAILERS = 256;

/** What stands for values that the trace masks or cuts, by the lower-case name of the field or query parameter. */
export type Revealed = ReadonlyMap<string, string>;

export class ReplayState {
  readonly exchange = new Exchange();
  /** The address that was picked last. */
  endpoint: string | null = null;
  readonly #names: Names;
  readonly #file: TraceFile;
  readonly #revealed: Revealed;
  readonly #picture: Picture;
  readonly #shared = new Map<string, string>();
  #cluster = -1;
  #strategy = -1;
  /** Why nothing behind here can be replayed. */
  #lost = "";

  constructor(file: TraceFile, { revealed, names }: { revealed: Revealed; names: Names }) {
    this.#file = file;
    this.#names = names;
    this.#revealed = revealed;
    this.#picture = pictureOf(file);
    const { exchange: x } = this;
    x.id = 1;
    x.clientAddress = file.client;
    x.listenerName = file.listener;
    x.bytesSent = file.sent;
    if (file.request.headers.some(([name]) => name.endsWith(CUT)))
      this.#lost = "the trace was cut in the request's fields";
  }

  /** Goes on behind a step. */
  follow(step: Step): void {
    const { exchange: x } = this;
    switch (step.step) {
      case "came":
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
        x.answeredAt = 0;
        break;
      case "attempt":
        if (step.status !== 0) x.answeredAt = 1;
    }
  }

  #followHook({ hook, result, edits, shared = [], cluster, strategy }: HookStep): void {
    const { exchange: x } = this;
    this.#apply(edits);
    for (const [name, value] of shared) this.#shared.set(name, value);
    if (result === "hold" && hook === "request_head") x.requestHeld = true;
    if (result === "hold" && hook === "response_head") x.answerHeld = true;
    // What the call itself has chosen was replayed: the trace's choice stands.
    if (cluster !== undefined) this.#cluster = this.#names.clusters.indexOf(cluster);
    if (strategy !== undefined) this.#strategy = this.#names.strategies.indexOf(strategy);
  }

  /** Makes the exchange what the trace says that it was here. Why that cannot be; empty when it is done. */
  restore(): string {
    if (this.#lost !== "") return this.#lost;
    try {
      return this.#restoreHeads() || this.#restoreShared();
    } catch (error) {
      // A head that no client can send, or one over all bounds.
      return error instanceof Error ? error.message : String(error);
    }
  }

  #restoreHeads(): string {
    const { exchange: x } = this;
    const target: Picture = new Map();
    for (const [key, entry] of this.#picture) {
      const values = entry.values.map((value) => reveal(this.#revealed, entry.what, value));
      if (values.some((value) => value.endsWith(CUT)))
        return `the trace was cut in ${entry.of === "response" ? "the answer's " : ""}${entry.what}`;
      target.set(key, { ...entry, values });
    }
    this.#scan(x.request);
    x.keepOriginal();
    x.response.reset();
    x.requestTrailers = x.responseTrailers = null;
    x.localStatus = 0;
    x.localBody = null;
    x.chosenCluster = this.#cluster;
    x.chosenStrategy = this.#strategy;
    x.startedAt = performance.now();
    for (const change of compare(takePicture(x), target)) write(x, change);
    return "";
  }

  /** The request as it came, through the proxy's own scanner: its framing and its flags are what they were. */
  #scan(head: Head): void {
    const { method, scheme = "", protocol = "1.1", authority, target, headers } = this.#file.request;
    const query = target.indexOf("?");
    const shown =
      query < 0 ? target : `${target.slice(0, query + 1)}${reveal(this.#revealed, "query", target.slice(query + 1))}`;
    const fields = headers.map(([name, value]) => [name, reveal(this.#revealed, `header ${name}`, value)] as const);
    fill(`${method} ${shown} HTTP/${protocol}`, fields, head, (bytes) =>
      scanRequest(bytes, 0, bytes.length, head, LIMITS),
    );
    for (const [part, text] of [
      [PART.authority, authority],
      [PART.scheme, scheme],
    ] as const)
      head.setPart(part, Buffer.from(text, "latin1"), 0, text.length);
  }

  #restoreShared(): string {
    for (const [name, value] of this.#shared) {
      if (value.endsWith(CUT)) return `the trace was cut in the shared value ${name}`;
      const shown = value === MASKED ? (this.#revealed.get(name.toLowerCase()) ?? value) : value;
      const key = `${SHARED}${name}`;
      const values = (this.exchange.values ??= new Map<string, KeptValue>());
      values.set(key, new KeptValue(key, Buffer.from(shown, "latin1"), null));
    }
    return "";
  }

  #apply(edits: readonly Change[]): void {
    if (edits.some(({ what }) => what.endsWith(CUT))) this.#lost ||= "the trace was cut before this";
    else applyChanges(this.#picture, edits);
  }
}

/** The request as it came, by what is told of it. */
function pictureOf({ request: { method, scheme = "", authority, target, headers } }: TraceFile): Picture {
  const picture: Picture = new Map();
  const at = target.indexOf("?");
  const parts = {
    method,
    scheme,
    authority,
    path: at < 0 ? target : target.slice(0, at),
    query: at < 0 ? "" : target.slice(at + 1),
  };
  for (const [what, value] of Object.entries(parts))
    if (value !== "") picture.set(`request ${what}`, { of: "request", what, values: [value] });
  const names = new Map<string, string[]>();
  for (const [name, value] of headers) {
    const key = `header ${name.toLowerCase()}`;
    const values = names.get(key);
    if (values === undefined) names.set(key, [value]);
    else values.push(value);
  }
  for (const [what, values] of names) picture.set(`request ${what}`, { of: "request", what, values });
  return picture;
}

/** A value with what the author gave in place of what is masked or cut. */
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

/** @throws RangeError when a head grows past its bounds. */
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

/** As plugins do it: the first field of the name has the new value, others go, and further ones stand at the end. */
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

/** @throws TypeError when a name or a value cannot stand in a head. */
export function readRevealed(values: Readonly<Record<string, string>> = {}): Revealed {
  const revealed = new Map<string, string>();
  for (const [name, value] of Object.entries(values)) {
    const [token, content] = [Buffer.from(name, "latin1"), Buffer.from(value, "latin1")];
    if (!isToken(token, 0, token.length) || !isFieldValue(content, 0, content.length))
      throw new TypeError(`values: "${name}" with the value "${value}" is no field that a request can have`);
    revealed.set(name.toLowerCase(), value);
  }
  return revealed;
}
