/**
 * Converts requests and responses between the form of a test and that of the host. Heads are parsed by the proxy's
 * scanner, so that a test can use only valid messages.
 */
import type { Fields, HeadersInit, HealthCheckInit, RequestInit, ResponseInit, TestResponse } from "../../sdk/test.js";
import { Endpoint } from "../cluster/endpoint.ts";
import { FRAMING, type Head } from "../http/head.ts";
import { parseTarget } from "../http/path-text.ts";
import { BodyReader } from "../http1/framing.ts";
import { scanRequest, scanResponse } from "../http1/scan.ts";
import { BareContext } from "../plugin/host/bare-context.ts";
import { Exchange } from "../proxy/exchange.ts";
import { listFields } from "../trace/snapshot-diff.ts";

export const LIMITS = { head: 512 * 1024, target: 64 * 1024, headers: 500 };

let lastId = 0;

/** Creates an exchange with a request. */
export function makeExchange(init: RequestInit = {}): Exchange {
  const { method = "GET", url = "/", client = "192.0.2.1", route = "", listener = "test" } = init;
  const { protocol, host, target } = parseTarget(url);
  if (protocol !== "http:" && protocol !== "https:") throw new TypeError(`url ${url}: expected http or https`);
  const fields = writeFields(init.headers);
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
  made.scheme = protocol === "https:" ? "https" : "http";
  made.keepOriginal();
  return made;
}

/** Creates the context of a health check. */
export function makeCheck({
  address = "192.0.2.80:80",
  cluster = "app",
  timeout = 1000,
}: HealthCheckInit = {}): BareContext {
  const made = new BareContext();
  made.id = ++lastId;
  made.clusterName = cluster;
  const path = address.startsWith("unix:") ? address.slice("unix:".length) : "";
  made.endpoint = new Endpoint({ address, host: "", port: 0, path, weight: 1, zone: "", slot: 0, cells: 0 });
  made.deadline = performance.now() + timeout;
  return made;
}

/** Sets the response of the endpoint. */
export function setResponse(exchange: Exchange, response?: ResponseInit): void {
  fillResponse(exchange.response, response);
}

export function fillResponse(head: Head, { status = 200, headers }: ResponseInit = {}): void {
  fill(`HTTP/1.1 ${status} Test`, writeFields(headers), head, (bytes) =>
    scanResponse(bytes, 0, bytes.length, head, false),
  );
}

/** Parses trailers. */
export function makeTrailers(trailers: HeadersInit): Head | null {
  const lines = writeFields(trailers).map(([name, value]) => `${name}: ${value}\r\n`);
  const bytes = Buffer.from(`0\r\n${lines.join("")}\r\n`, "latin1");
  const reader = new BodyReader();
  reader.begin(FRAMING.chunked, 0, false);
  if (reader.read(bytes, 0, bytes.length) !== bytes.length || !reader.done)
    throw new TypeError(`invalid trailers: ${reader.problem || "incomplete"}`);
  return reader.trailers;
}

function writeFields(headers: HeadersInit = {}): [name: string, value: string][] {
  if (Array.isArray(headers)) return headers.map(([name, value]) => [name, value]);
  return Object.entries(headers as Record<string, string | readonly string[]>).flatMap(([name, value]) =>
    [value].flat().map((one): [string, string] => [name, one]),
  );
}

/** Parses a head. @throws TypeError if it is invalid. */
export function fill(
  start: string,
  fields: readonly (readonly [string, string])[],
  head: Head,
  scan: (bytes: Buffer) => number,
): void {
  const lines = [start, ...fields.map(([name, value]) => `${name}: ${value}`)];
  const bytes = Buffer.from(`${lines.join("\r\n")}\r\n\r\n`, "latin1");
  if (scan(bytes) !== bytes.length) throw new TypeError(`invalid head: ${head.problem || "incomplete"}: ${start}`);
}

/** The fields of a head. */
export function readFields(head: Head): Fields {
  const fields = listFields(head);
  const headers: Record<string, string> = {};
  for (const [name, value] of fields) {
    const key = name.toLowerCase();
    headers[key] = headers[key] === undefined ? value : `${headers[key]}, ${value}`;
  }
  return { headers, fields };
}

/** The response of the exchange. */
export function readResponse(exchange: Exchange): TestResponse {
  return {
    status: exchange.localStatus !== 0 ? exchange.localStatus : exchange.response.status,
    ...readFields(exchange.response),
    body: exchange.localBody?.toString("utf8") ?? "",
  };
}
