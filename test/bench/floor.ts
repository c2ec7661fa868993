/**
 * The floor: the least that a proxy in this language must do. Bare sockets, reads into one reused buffer, heads
 * scanned strictly into an offset table, and spliced with the added headers into one write.
 * It has no partial heads, timeouts, limits, routes by pattern, retries, counters or plugins, and gives up on
 * whatever it does not know; so it is a measure, not a proxy.
 */
import { connect, createServer, type Server, Socket, type SocketConstructorOpts } from "node:net";
import { readArguments } from "./peers/arguments.ts";
import { REMOVED_HEADER, ROUTE_HEADER, SET_HEADER, SET_VALUE } from "./site.ts";

const BUFFER = 64 * 1024;
const WORDS = 4;
const { work, port, groups } = readArguments();
const chain = work === "chain";

/** Name start, name end, value start, value end of each field of the head scanned last. */
const fields = new Uint32Array(WORDS * 128);
let fieldCount = 0;
/** Where the header fields begin. */
let fieldsStart = 0;

const shared = Buffer.allocUnsafeSlow(BUFFER);
let out = Buffer.allocUnsafeSlow(BUFFER);

type Upstream = { readonly socket: Socket; readonly idle: Upstream[]; client: Client | null; left: number };
type Client = { readonly socket: Socket; readonly forwarded: Buffer; upstream: Upstream | null };
type Endpoint = { readonly address: string; readonly idle: Upstream[] };

const endpointsOf = (addresses: readonly string[]): Endpoint[] => addresses.map((address) => ({ address, idle: [] }));
const app = endpointsOf(groups.app);
const canary = endpointsOf(groups.canary);
let turn = 0;

const latin1 = (text: string): Buffer => Buffer.from(text, "latin1");
const CONNECTION = latin1("connection");
const CONTENT_LENGTH = latin1("content-length");
const HOST = latin1("host");
const TRANSFER_ENCODING = latin1("transfer-encoding");
const ROUTE = latin1(ROUTE_HEADER);
const REMOVED = latin1(REMOVED_HEADER);
const SET = latin1(chain ? `${SET_HEADER}: ${SET_VALUE}\r\n` : "");
const FORWARDED_HOST = latin1("X-Forwarded-Host: ");

/** The bytes of a field name (RFC 9110 section 5.6.2). */
const TOKEN = new Uint8Array(256);
for (const byte of latin1("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"))
  TOKEN[byte] = 1;

/** Fills `fields` from a head at the buffer's beginning. Returns where its body begins, or -1. */
function scan(bytes: Uint8Array, length: number): number {
  let at = 0;
  while (at < length && bytes[at]! >= 32) at++;
  if (bytes[at] !== 13 || bytes[at + 1] !== 10) return -1;
  at += 2;
  fieldsStart = at;
  let word = 0;
  while (at < length && bytes[at] !== 13) {
    if (word === fields.length) return -1;
    fields[word] = at;
    while (TOKEN[bytes[at]!] === 1) at++;
    fields[word + 1] = at;
    if (at === fields[word] || bytes[at++] !== 58) return -1;
    while (bytes[at] === 32 || bytes[at] === 9) at++;
    fields[word + 2] = at;
    while (at < length && (bytes[at]! >= 32 || bytes[at] === 9)) at++;
    fields[word + 3] = at;
    if (bytes[at] !== 13 || bytes[at + 1] !== 10) return -1;
    at += 2;
    word += WORDS;
  }
  fieldCount = word / WORDS;
  return at + 1 < length && bytes[at + 1] === 10 ? at + 2 : -1;
}

/** Whether field name `word` of the table is `name`, which is in lower case. */
function isNamed(bytes: Uint8Array, word: number, name: Buffer): boolean {
  const start = fields[word]!;
  if (fields[word + 1]! - start !== name.length) return false;
  for (let i = 0; i < name.length; i++) if ((bytes[start + i]! | 32) !== name[i]) return false;
  return true;
}

function find(bytes: Uint8Array, name: Buffer): number {
  for (let word = 0; word < fieldCount * WORDS; word += WORDS) if (isNamed(bytes, word, name)) return word;
  return -1;
}

/** Copies to `out` at `to`; returns where the copy ends. */
function copy(source: Uint8Array, start: number, end: number, to: number): number {
  const into = out;
  for (let at = start; at < end; at++) into[to++] = source[at]!;
  return to;
}

/** Copies start line and fields but Connection and `removed`, in as few runs as they leave; returns where it ends. */
function splice(bytes: Uint8Array, removed: Buffer | null): number {
  let to = 0;
  let from = 0;
  for (let word = 0; word < fieldCount * WORDS; word += WORDS) {
    if (!isNamed(bytes, word, CONNECTION) && (removed === null || !isNamed(bytes, word, removed))) continue;
    to = copy(bytes, from, fields[word]!, to);
    from = fields[word + 3]! + 2;
  }
  const last = fieldCount === 0 ? fieldsStart : fields[fieldCount * WORDS - 1]! + 2;
  return copy(bytes, from, last, to);
}

/** Sends the first bytes of `out`, which belongs to the socket if the kernel did not take all of them at once. */
function send(socket: Socket, length: number): void {
  socket.write(out.subarray(0, length));
  if (socket.writableLength > 0) out = Buffer.allocUnsafeSlow(BUFFER);
}

function onRequest(client: Client, bytes: Uint8Array, length: number): void {
  if (client.upstream !== null || scan(bytes, length) !== length) return end(client);
  const host = find(bytes, HOST);
  if (host < 0 || find(bytes, CONTENT_LENGTH) >= 0 || find(bytes, TRANSFER_ENCODING) >= 0) return end(client);
  const upstream = takeUpstream(chain && isBeta(bytes) ? canary : app);
  client.upstream = upstream;
  upstream.client = client;
  let to = splice(bytes, null);
  to = copy(client.forwarded, 0, client.forwarded.length, to);
  to = copy(SET, 0, SET.length, to);
  to = copy(FORWARDED_HOST, 0, FORWARDED_HOST.length, to);
  to = copy(bytes, fields[host + 2]!, fields[host + 3]! + 2, to);
  out[to++] = 13;
  out[to++] = 10;
  send(upstream.socket, to);
}

function isBeta(bytes: Uint8Array): boolean {
  const word = find(bytes, ROUTE);
  return word >= 0 && fields[word + 3]! - fields[word + 2]! === 1 && bytes[fields[word + 2]!] === 49;
}

function onResponse(upstream: Upstream, bytes: Uint8Array, length: number): void {
  const client = upstream.client;
  if (client === null) return void upstream.socket.destroy();
  if (upstream.left > 0) return onBody(upstream, client, bytes, length);
  const body = scan(bytes, length);
  const lengthField = body < 0 ? -1 : find(bytes, CONTENT_LENGTH);
  if (lengthField < 0) return end(client);
  let to = splice(bytes, chain ? REMOVED : null);
  out[to++] = 13;
  out[to++] = 10;
  upstream.left = readLength(bytes, fields[lengthField + 2]!, fields[lengthField + 3]!) - (length - body);
  to = copy(bytes, body, length, to);
  if (upstream.left < 0) return end(client);
  if (upstream.left === 0) release(upstream);
  send(client.socket, to);
}

function onBody(upstream: Upstream, client: Client, bytes: Uint8Array, length: number): void {
  upstream.left -= length;
  if (upstream.left < 0) return end(client);
  if (upstream.left === 0) release(upstream);
  client.socket.write(Buffer.from(bytes.subarray(0, length)));
}

function readLength(bytes: Uint8Array, start: number, end: number): number {
  let value = 0;
  for (let at = start; at < end; at++) value = value * 10 + bytes[at]! - 48;
  return value;
}

function release(upstream: Upstream): void {
  if (upstream.client !== null) upstream.client.upstream = null;
  upstream.client = null;
  upstream.idle.push(upstream);
}

function end(client: Client): void {
  client.upstream?.socket.destroy();
  client.socket.destroy();
}

function takeUpstream(endpoints: Endpoint[]): Upstream {
  const endpoint = endpoints[turn++ % endpoints.length]!;
  return endpoint.idle.pop() ?? openUpstream(endpoint);
}

function openUpstream({ address, idle }: Endpoint): Upstream {
  const [host, at] = address.split(":");
  const callback = (length: number, bytes: Uint8Array): boolean => {
    onResponse(upstream, bytes, length);
    return true;
  };
  const socket = connect({ port: Number(at), host, noDelay: true, onread: { buffer: shared, callback } });
  const upstream: Upstream = { socket, idle, client: null, left: 0 };
  socket.on("error", () => socket.destroy());
  socket.on("close", () => {
    const index = idle.indexOf(upstream);
    if (index >= 0) idle.splice(index, 1);
    upstream.client?.socket.destroy();
  });
  return upstream;
}

function accept(handle: unknown): void {
  const callback = (length: number, bytes: Uint8Array): boolean => {
    onRequest(client, bytes, length);
    return true;
  };
  const options = { handle, readable: true, writable: true, onread: { buffer: shared, callback } };
  const socket = new Socket(options as SocketConstructorOpts);
  socket.setNoDelay(true);
  const from = `Via: 1.1 floor\r\nX-Forwarded-For: ${socket.remoteAddress ?? ""}\r\nX-Forwarded-Proto: http\r\n`;
  const client: Client = { socket, forwarded: latin1(from), upstream: null };
  socket.on("error", () => socket.destroy());
  socket.on("close", () => client.upstream?.socket.destroy());
}

/** Takes accepted handles before the server makes sockets of them: only so can they read into a reused buffer. */
function takeHandles(server: Server): void {
  const listening = server as unknown as { _handle: { onconnection: (error: number, handle: unknown) => void } };
  listening._handle.onconnection = (error, handle) => {
    if (error === 0) accept(handle);
  };
}

const server = createServer();
server.listen(port, "127.0.0.1", 4096, () => takeHandles(server));
// In order, so that a profile is written.
process.once("SIGTERM", () => process.exit(0));
