/**
 * Requests and answers as a test writes and reads them, and as the host has them. What is written goes through the
 * proxy's own scanner, so that no test sees a request that no client can send.
 */
import type { Answer, Edit, Fields, HeadersInit, RequestInit, ResponseInit } from "../../../sdk/test.js";
import { BodyReader } from "../../http/framing.ts";
import { FRAMING, type Head, PART } from "../../http/head.ts";
import { scanRequest, scanResponse } from "../../http/scan.ts";
import { Exchange } from "../../proxy/exchange.ts";

export const LIMITS = { head: 512 * 1024, target: 64 * 1024, headers: 500 };
const FIELD_WORDS = 5;
const REMOVED = 255;

let lastId = 0;

/** An exchange whose request came. */
export function makeExchange(init: RequestInit = {}): Exchange {
  const { method = "GET", url = "/", client = "192.0.2.1", route = "", listener = "test" } = init;
  const { protocol, host, pathname, search } = new URL(url, "http://localhost/");
  if (protocol !== "http:" && protocol !== "https:") throw new TypeError(`the url ${url} is not of http or https`);
  // A path that is written as one goes in as it is written.
  const target = url.startsWith("/") ? url : `${pathname}${search}`;
  const fields = listFields(init.headers);
  if (!fields.some(([name]) => name.toLowerCase() === "host")) fields.unshift(["host", host]);
  const made = new Exchange();
  made.id = ++lastId;
  made.clientAddress = client;
  made.routeName = route;
  made.listenerName = listener;
  made.startedAt = performance.now();
  fill(`${method} ${target} HTTP/1.1`, fields, made.request, (bytes) =>
    scanRequest(bytes, 0, bytes.length, made.request, LIMITS),
  );
  if (protocol === "https:") made.request.setPart(PART.scheme, Buffer.from("https"), 0, 5);
  return made;
}

/** Gives an exchange the answer of an endpoint. */
export function answerExchange(exchange: Exchange, response?: ResponseInit): void {
  fillAnswer(exchange.response, response);
}

export function fillAnswer(head: Head, { status = 200, headers }: ResponseInit = {}): void {
  fill(`HTTP/1.1 ${status} Test`, listFields(headers), head, (bytes) =>
    scanResponse(bytes, 0, bytes.length, head, false),
  );
}

/** Fields after a body; null for none. */
export function makeTrailers(trailers: HeadersInit): Head | null {
  const lines = listFields(trailers).map(([name, value]) => `${name}: ${value}\r\n`);
  const bytes = Buffer.from(`0\r\n${lines.join("")}\r\n`, "latin1");
  const reader = new BodyReader();
  reader.begin(FRAMING.chunked, 0);
  if (reader.read(bytes, 0, bytes.length) !== bytes.length || !reader.done)
    throw new TypeError(`no client or endpoint can send these trailers: ${reader.problem || "they are not whole"}`);
  return reader.trailers;
}

function listFields(headers: HeadersInit = {}): [name: string, value: string][] {
  if (Array.isArray(headers)) return headers.map(([name, value]) => [name, value]);
  return Object.entries(headers as Record<string, string | readonly string[]>).flatMap(([name, value]) =>
    [value].flat().map((one): [string, string] => [name, one]),
  );
}

function fill(
  start: string,
  fields: readonly (readonly [string, string])[],
  head: Head,
  scan: (bytes: Buffer) => number,
): void {
  const lines = [start, ...fields.map(([name, value]) => `${name}: ${value}`)];
  const bytes = Buffer.from(`${lines.join("\r\n")}\r\n\r\n`, "latin1");
  if (scan(bytes) !== bytes.length)
    throw new TypeError(`no client or endpoint can send this head: ${head.problem || "it is not whole"}: ${start}`);
}

/** What a head holds now. */
export function readFields(head: Head): Fields {
  const fields: [string, string][] = [];
  for (let at = 0; at < head.count * FIELD_WORDS; at += FIELD_WORDS) {
    const [nameStart = 0, nameEnd = 0, valueStart = 0, valueEnd = 0, id] = head.fields.subarray(at, at + FIELD_WORDS);
    if (id !== REMOVED) fields.push([head.text(nameStart, nameEnd), head.text(valueStart, valueEnd)]);
  }
  const headers: Record<string, string> = {};
  for (const [name, value] of fields) {
    const key = name.toLowerCase();
    headers[key] = headers[key] === undefined ? value : `${headers[key]}, ${value}`;
  }
  return { headers, fields };
}

/** The answer that a plugin gave, or an endpoint did. */
export function readAnswer(exchange: Exchange): Answer {
  return {
    status: exchange.localStatus !== 0 ? exchange.localStatus : exchange.response.status,
    ...readFields(exchange.response),
    body: exchange.localBody?.toString("utf8") ?? "",
  };
}

/** Everything that a hook may change, by what it is called in `Edit`. */
export type Picture = ReadonlyMap<
  string,
  { readonly of: Edit["of"]; readonly what: string; readonly values: string[] }
>;

export function takePicture(exchange: Exchange): Picture {
  const picture = new Map<string, { of: Edit["of"]; what: string; values: string[] }>();
  const add = (of: Edit["of"], what: string, value: string) => {
    const entry = picture.get(`${of} ${what}`);
    if (entry === undefined) picture.set(`${of} ${what}`, { of, what, values: [value] });
    else entry.values.push(value);
  };
  const { request } = exchange;
  for (const [what, part] of Object.entries(PART)) {
    const text = request.partText(part);
    if (text !== "") add("request", what, text);
  }
  for (const [name, value] of readFields(request).fields) add("request", `header ${name.toLowerCase()}`, value);
  const { status, fields } = readAnswer(exchange);
  if (status !== 0) add("response", "status", String(status));
  for (const [name, value] of fields) add("response", `header ${name.toLowerCase()}`, value);
  for (const [of, trailers] of [
    ["request", exchange.requestTrailers],
    ["response", exchange.responseTrailers],
  ] as const)
    for (const [name, value] of trailers === null ? [] : readFields(trailers).fields)
      add(of, `trailer ${name.toLowerCase()}`, value);
  return picture;
}

export function compare(before: Picture, after: Picture): Edit[] {
  const edits: Edit[] = [];
  for (const key of new Set([...before.keys(), ...after.keys()])) {
    const [old, now] = [before.get(key), after.get(key)];
    const { of, what } = (old ?? now)!;
    const [from, to] = [old?.values ?? [], now?.values ?? []];
    if (from.length !== to.length || from.some((value, i) => value !== to[i]))
      edits.push({ of, what, before: from, after: to });
  }
  return edits;
}
