/**
 * Node's own parser as the oracle: every message that Sluice takes as complete, Node takes as complete too, in the same
 * order and with the same method, target, fields, body and trailers. So Sluice reads nothing that Node would refuse, and
 * nothing in another way. (`smuggling.test.ts` checks that Sluice rejects more.)
 */
import assert from "node:assert/strict";
import { createServer, request as httpRequest, type IncomingMessage, METHODS } from "node:http";
import { type AddressInfo, connect, createServer as createTcpServer, type Socket } from "node:net";
import { after, before, test } from "node:test";
import fc from "fast-check";
import { FLAG, FRAMING } from "../../../src/http/head.ts";
import { smuggling } from "../../fixtures/smuggling.ts";
import { mutated, requests, responses } from "./arbitrary.ts";
import { type Message, readStream } from "./reader.ts";

const SEED = 20261120;
const MAX_HEADER_SIZE = 64 * 1024;
const AT_ONCE = 16;

/** Node's result for a stream. */
type Seen = { messages: IncomingMessage[]; bodies: Map<IncomingMessage, string>; error: string };

const newSeen = (): Seen => ({ messages: [], bodies: new Map(), error: "" });

function collect(seen: Seen, message: IncomingMessage, ended: () => void): void {
  seen.messages.push(message);
  seen.bodies.set(message, "");
  message.on("data", (data: Buffer) => seen.bodies.set(message, seen.bodies.get(message) + data.toString("latin1")));
  message.on("end", ended);
  message.on("error", (error) => {
    seen.error ||= error.message;
  });
}

// One server for requests; the result of each connection is stored by its client's port.
const byPort = new Map<number, Seen>();
const server = createServer({ maxHeaderSize: MAX_HEADER_SIZE }, (req, res) => {
  collect(byPort.get(req.socket.remotePort!)!, req, () => res.end());
});
// A FIN behind a complete request must not abort it.
Object.assign(server, { httpAllowHalfOpen: true });
server.on("connection", (socket: Socket) => {
  byPort.set(socket.remotePort!, newSeen());
  // Once everything has been read, Node reports its results within a few turns; some errors after an
  // Upgrade header it never reports.
  socket.on("end", () => setImmediate(() => setImmediate(() => setImmediate(() => socket.destroy()))));
});
server.on("clientError", (error: Error & { code?: string }, socket) => {
  const seen = byPort.get((socket as Socket).remotePort!);
  if (seen !== undefined) seen.error ||= error.code ?? error.message;
  socket.destroy();
});

before(() => new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve)));
after(() => new Promise<unknown>((resolve) => server.close(resolve).closeAllConnections()));

function sendRequest(raw: Buffer): Promise<Seen> {
  return new Promise((resolve) => {
    let port = 0;
    const socket = connect((server.address() as AddressInfo).port, "127.0.0.1", () => {
      port = socket.localPort!;
      socket.end(raw);
    });
    socket.resume();
    // A rejection may reset the connection before all bytes were delivered.
    socket.on("error", () => socket.destroy());
    socket.on("close", () => resolve(byPort.get(port) ?? newSeen()));
  });
}

async function receiveResponse(raw: Buffer): Promise<Seen> {
  const seen = newSeen();
  const peer = createTcpServer((socket) => {
    socket.on("error", () => socket.destroy());
    socket.once("data", () => socket.end(raw));
  });
  await new Promise<void>((resolve) => peer.listen(0, "127.0.0.1", resolve));
  const { port } = peer.address() as AddressInfo;
  await new Promise<void>((resolve) => {
    const req = httpRequest({ host: "127.0.0.1", port, agent: false, maxHeaderSize: MAX_HEADER_SIZE });
    req.on("error", (error: Error & { code?: string }) => {
      seen.error ||= error.code ?? error.message;
    });
    req.on("response", (message) => collect(seen, message, () => undefined));
    req.on("upgrade", (message: IncomingMessage, socket: Socket) => {
      seen.messages.push(message);
      socket.destroy();
    });
    req.on("close", resolve);
    req.end();
  });
  await new Promise<unknown>((resolve) => peer.close(resolve));
  return seen;
}

function pairs(list: string[]): [string, string][] {
  return Array.from({ length: list.length / 2 }, (_, i) => [list[2 * i]!, list[2 * i + 1]!]);
}

/** A message in a form that is common to both sides. */
type Common = { line: string; fields: [string, string][]; body: string; trailers: [string, string][] };

function fromNode(seen: Seen, message: IncomingMessage): Common {
  const line = message.statusCode === null ? `${message.method} ${message.url}` : String(message.statusCode);
  return {
    line: `${line} ${message.httpVersion}`,
    fields: pairs(message.rawHeaders).filter(([name]) => name.toLowerCase() !== "host"),
    body: seen.bodies.get(message) ?? "",
    trailers: pairs(message.rawTrailers),
  };
}

function fromSluice(message: Message): Common {
  const words = message.startLine.split(" ");
  const version = (message.status === 0 ? words[2] : words[0])!.slice(5);
  return {
    line: `${message.status === 0 ? `${words[0]} ${words[1]}` : message.status} ${version}`,
    fields: message.fields.filter(([name]) => name.toLowerCase() !== "host"),
    body: message.body,
    trailers: message.trailers,
  };
}

const RESPONSE_FIELD = /\r\n([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]+:/g;
const CHUNK_LINE = /\r\n([0-9A-Fa-f]+)(?=[^\r\n]*[ \t])[ \t]*(?:;[^\r\n]*)?(?=\r\n)/g;

/** The same without blanks that Sluice reads and Node does not: around chunk extensions, and what a response is allowed. */
function withoutBlanks(direction: "request" | "response", raw: Buffer, messages: readonly Message[]): Buffer {
  const text = raw.toString("latin1");
  const isChunked = messages.some(({ framing }) => framing === FRAMING.chunked);
  // A body that is not chunked is unchanged.
  const end = isChunked ? text.length : text.indexOf("\r\n\r\n");
  let read = text.slice(0, end);
  if (isChunked) read = read.replace(CHUNK_LINE, "\r\n$1");
  if (direction === "response") read = read.replace(RESPONSE_FIELD, "\r\n$1:");
  return Buffer.from(read + text.slice(end), "latin1");
}

/** Messages that Sluice took as complete, up to the one that ends the connection. */
function accepted(direction: "request" | "response", raw: Buffer): Message[] {
  const complete = readStream(direction, raw).messages.filter((message) => message.complete);
  const final = complete.filter((message) => message.status === 0 || message.status === 101 || message.status >= 200);
  const last = final.findIndex((message) => (message.flags & FLAG.keepAlive) === 0);
  return last < 0 ? final : final.slice(0, last + 1);
}

async function compareAll(corpus: Buffer[], compare: (raw: Buffer) => Promise<void>): Promise<void> {
  for (let i = 0; i < corpus.length; i += AT_ONCE) await Promise.all(corpus.slice(i, i + AT_ONCE).map(compare));
}

async function compareRequest(raw: Buffer): Promise<void> {
  const ours = accepted("request", raw);
  // Node knows a fixed list of methods; a proxy passes those it does not know.
  const known = ours.findIndex((message) => !METHODS.includes(message.method));
  const messages = known < 0 ? ours : ours.slice(0, known);
  let seen = await sendRequest(raw);
  if (!messages.every((_, i) => seen.messages[i]?.complete))
    seen = await sendRequest(withoutBlanks("request", raw, messages));
  const text = JSON.stringify(raw.toString("latin1"));
  for (const [i, message] of messages.entries()) {
    const theirs = seen.messages[i];
    assert.ok(theirs?.complete, `Node did not take message ${i} of ${text}: ${seen.error}`);
    assert.deepEqual(fromSluice(message), fromNode(seen, theirs), text);
  }
}

async function compareResponse(raw: Buffer): Promise<void> {
  const [message] = accepted("response", raw);
  let seen = await receiveResponse(raw);
  if (message === undefined) return;
  if (!seen.messages[0]?.complete) seen = await receiveResponse(withoutBlanks("response", raw, [message]));
  const text = JSON.stringify(raw.toString("latin1"));
  const theirs = seen.messages[0];
  assert.ok(theirs?.complete || theirs?.statusCode === 101, `Node did not take ${text}: ${seen.error}`);
  assert.deepEqual(fromSluice(message), fromNode(seen, theirs), text);
}

const shapes = (direction: string): Buffer[] =>
  smuggling.filter((shape) => shape.direction === direction).map((shape) => Buffer.from(shape.raw, "latin1"));

test("well-formed requests are accepted, and read as Node reads them", async () => {
  const corpus = fc.sample(requests, { seed: SEED, numRuns: 200 });
  for (const raw of corpus) assert.equal(readStream("request", raw).refused, 0, JSON.stringify(raw.toString("latin1")));
  await compareAll(corpus, compareRequest);
});

test("smuggling attempts and mutated requests are read as Node reads them, or rejected", async () => {
  await compareAll([...shapes("request"), ...fc.sample(mutated, { seed: SEED, numRuns: 600 })], compareRequest);
});

test("well-formed responses are accepted, and read as Node reads them", async () => {
  const corpus = fc.sample(responses, { seed: SEED, numRuns: 100 });
  for (const raw of corpus)
    assert.equal(readStream("response", raw).refused, 0, JSON.stringify(raw.toString("latin1")));
  await compareAll(corpus, compareResponse);
});

test("smuggling attempts and mutated responses are read as Node reads them, or rejected", async () => {
  const corpus = fc
    .sample(mutated, { seed: SEED, numRuns: 1500 })
    .filter((raw) => raw.toString("latin1", 0, 4) === "HTTP");
  assert.ok(corpus.length > 50);
  await compareAll([...shapes("response"), ...corpus], compareResponse);
});
