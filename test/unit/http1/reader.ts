/** Reads a stream of messages as the data plane does, with any split, and returns what it read. */

import { FIELD_WORDS, Head, NAME_END, PART, VALUE_END, VALUE_START } from "../../../src/http/head.ts";
import { BodyReader } from "../../../src/http1/framing.ts";
import { type HeadLimits, scanRequest, scanResponse } from "../../../src/http1/scan.ts";

export const LIMITS: HeadLimits = { head: 32 * 1024, target: 16 * 1024, headers: 100 };

export type Message = {
  /** The start line as received. */
  startLine: string;
  status: number;
  method: string;
  authority: string;
  path: string;
  query: string;
  flags: number;
  framing: number;
  fields: [string, string][];
  body: string;
  trailers: [string, string][];
  complete: boolean;
};

export type Reading = {
  messages: Message[];
  /** 0, or the status with which the stream was rejected, and why. */
  refused: number;
  problem: string;
};

export function listFields(head: Head): [string, string][] {
  const list: [string, string][] = [];
  for (let at = 0; at < head.count * FIELD_WORDS; at += FIELD_WORDS) {
    const { fields } = head;
    list.push([
      head.text(fields[at]!, fields[at + NAME_END]!),
      head.text(fields[at + VALUE_START]!, fields[at + VALUE_END]!),
    ]);
  }
  return list;
}

function describe(head: Head): Message {
  const text = head.text(0, head.end);
  return {
    startLine: text.slice(0, text.indexOf("\r\n")),
    status: head.status,
    method: head.partText(PART.method),
    authority: head.partText(PART.authority),
    path: head.partText(PART.path),
    query: head.partText(PART.query),
    flags: head.flags,
    framing: head.framing,
    fields: listFields(head),
    body: "",
    trailers: [],
    complete: false,
  };
}

/** One connection's codec: feed it chunks, then end it. */
export class StreamReader {
  readonly reading: Reading = { messages: [], refused: 0, problem: "" };
  readonly #response: boolean;
  readonly #limits: HeadLimits;
  readonly #head = new Head(64, 2);
  readonly #body = new BodyReader();
  #message: Message | null = null;
  #pending: Buffer = Buffer.alloc(0);

  constructor(direction: "request" | "response", limits: HeadLimits = LIMITS) {
    this.#response = direction === "response";
    this.#limits = limits;
  }

  feed(part: Buffer): void {
    // Other bytes surround those of the stream, as in a read buffer.
    this.#pending = Buffer.concat([this.#pending, part]);
    const framed = Buffer.concat([Buffer.from("\r\n\r\n"), this.#pending, Buffer.from("\r\n\r\nHost: x\r\n\r\n")]);
    const end = 4 + this.#pending.length;
    let at = 4;
    // A message without a body is complete before another byte is received.
    while (this.reading.refused === 0 && (at < end || this.#expectsNothing)) {
      const past = this.#message === null ? this.#readHead(framed, at, end) : this.#readBody(framed, at, end);
      if (past < 0) break;
      at = past;
    }
    this.#pending = Buffer.from(framed.subarray(at, end));
  }

  get #expectsNothing(): boolean {
    return this.#message !== null && this.#body.done;
  }

  #readHead(buf: Buffer, at: number, end: number): number {
    const head = this.#head;
    const past = this.#response
      ? scanResponse(buf, at, end, head, false)
      : scanRequest(buf, at, end, head, this.#limits);
    if (past === 0) return -1;
    if (past < 0) return this.#refuse(-past, head.problem);
    if (past > end || past <= at) throw new RangeError(`scan returned ${past} for an area [${at}, ${end})`);
    this.#message = describe(head);
    this.reading.messages.push(this.#message);
    this.#body.begin(head.framing, head.length, this.#response);
    return past;
  }

  #readBody(buf: Buffer, at: number, end: number): number {
    const body = this.#body;
    const message = this.#message!;
    const past = body.read(buf, at, end);
    const { dataStart, dataEnd } = body;
    if (past > end || past < at || dataStart < at || dataEnd > past || dataEnd < dataStart)
      throw new RangeError(`read returned ${past} and [${dataStart}, ${dataEnd}) for an area [${at}, ${end})`);
    message.body += buf.toString("latin1", dataStart, dataEnd);
    if (message.body.length !== body.received) throw new RangeError(`received is ${body.received}`);
    if (body.problem !== "") return this.#refuse(this.#response ? 502 : 400, body.problem);
    if (!body.done) {
      if (past !== end) throw new RangeError(`read left bytes of a body that is not done, at ${past} of ${end}`);
    } else this.#finishMessage();
    return past;
  }

  #finishMessage(): void {
    const message = this.#message!;
    message.complete = true;
    if (this.#body.trailers !== null) message.trailers = listFields(this.#body.trailers);
    this.#message = null;
  }

  #refuse(status: number, problem: string): number {
    this.reading.refused = status;
    this.reading.problem = problem;
    return -1;
  }

  /** The peer's FIN. */
  end(): Reading {
    if (this.#message !== null && this.reading.refused === 0 && this.#body.finish()) this.#finishMessage();
    return this.reading;
  }
}

/** Reads `raw`, cut at the given offsets. */
export function readStream(
  direction: "request" | "response",
  raw: Buffer,
  cuts: number[] = [],
  limits = LIMITS,
): Reading {
  const reader = new StreamReader(direction, limits);
  let from = 0;
  for (const cut of [...cuts].sort((a, b) => a - b)) {
    if (cut <= from || cut >= raw.length) continue;
    reader.feed(Buffer.from(raw.subarray(from, cut)));
    from = cut;
  }
  reader.feed(Buffer.from(raw.subarray(from)));
  return reader.end();
}
