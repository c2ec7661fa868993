/** The client against nghttpd (nghttp2), frame by frame: what it receives is what was meant, and what it sends is seen. */
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import fc from "fast-check";
import { FIELD_WORDS, type Head, NAME_END, VALUE_END, VALUE_START } from "../../../../src/http/head.ts";
import { DEFAULT_WINDOW, FRAME_FLAG, MAX_PAYLOAD } from "../../../../src/http2/frames.ts";
import { RECEIVE_WINDOW } from "../../../../src/protocol/http2/client-streams.ts";
import { findFreePort } from "../../../e2e/free-port.ts";
import { missingPeers, startNghttpd } from "../../../e2e/load-balancers.ts";
import { connectTo, type Peer } from "../../../e2e/peers.ts";
import { atEnd, until } from "../../../e2e/program.ts";
import { detailOf, NghttpdTrace, type TracedFrame } from "../../../support/nghttpd-trace.ts";
import { mockTime } from "../../../support/time.ts";
import { makeInstance, startPlane } from "../../proxy/kit.ts";

type Fields = [name: string, value: string][];
type Sent = {
  readonly method: string;
  readonly fields: Fields;
  readonly size: number;
  readonly trailers: Fields | null;
};

const SECRETS = ["authorization", "cookie"];
const ADDED = ["te", "trailer", "via", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "content-length"];
const PING = 60_000;
const FILE = "0123456789abcdef".repeat(4000);

const name = fc.oneof(
  fc.constantFrom("accept", "User-Agent", "X-A", "x-request-id", "referer", "cookie", "x-a"),
  fc.stringMatching(/^x-[a-e][a-z0-9-]{0,20}$/),
);
const value = fc.oneof(
  fc.constantFrom("", "*/*", "a", "text/html; charset=utf-8", "x".repeat(300), "{|}~".repeat(1500)),
  fc.stringMatching(/^[!-~]([ -~]{0,60}[!-~])?$/),
);
const fields = fc.array(fc.tuple(name, value), { maxLength: 8 });
const sent: fc.Arbitrary<Sent> = fc.record({
  method: fc.constantFrom("GET", "POST", "POST", "HEAD"),
  fields: fc
    .tuple(fields, fc.constantFrom([], [["authorization", "Basic eDp5"]]))
    .map(([list, secret]) => [...secret, ...list] as Fields),
  size: fc.constantFrom(0, 1, 1000, MAX_PAYLOAD, MAX_PAYLOAD + 1, 40_000),
  trailers: fc.option(fc.array(fc.tuple(fc.constantFrom("x-end", "x-sum"), value), { minLength: 1, maxLength: 2 })),
});

const lower = (list: Fields): Fields => list.map(([key, text]) => [key.toLowerCase(), text]);
const linesOf = (list: Fields): string => list.map(([key, text]) => `${key}: ${text}\r\n`).join("");

/** The request in HTTP/1; the path has its number. */
function textOf({ method, fields: list, size, trailers }: Sent, number: number): string {
  const begin = `${method} /file.txt?n=${number} HTTP/1.1\r\nHost: a:1\r\n${linesOf(list)}`;
  if (method !== "POST") return `${begin}\r\n`;
  const body = "x".repeat(size);
  if (trailers === null) return `${begin}Content-Length: ${size}\r\n\r\n${body}`;
  const chunk = size === 0 ? "" : `${size.toString(16)}\r\n${body}\r\n`;
  return `${begin}Transfer-Encoding: chunked\r\nTrailer: x-end, x-sum\r\n\r\n${chunk}0\r\n${linesOf(trailers)}\r\n`;
}

function fieldsOf(head: Head): Fields {
  return Array.from({ length: head.count }, (_, i) => {
    const at = (offset: number): number => head.fields[i * FIELD_WORDS + offset]!;
    return [head.text(at(0), at(NAME_END)), head.text(at(VALUE_START), at(VALUE_END))];
  });
}

const endsStream = ({ type, flags }: TracedFrame): boolean =>
  (type === "HEADERS" || type === "DATA") && (flags & FRAME_FLAG.endStream) !== 0;
const sizeOf = (list: readonly TracedFrame[]): number =>
  list.reduce((sum, frame) => sum + (frame.type === "DATA" ? frame.length - detailOf(frame, /^\(padlen=(\d+)/) : 0), 0);

/** What nghttpd has received of a request. */
function checkRequest({ method, fields: list, size, trailers }: Sent, number: number, received: TracedFrame[]): void {
  const [first] = received;
  const got = first!.fields;
  const pseudo = got.slice(0, 4).map((field) => [field.name, field.value]);
  assert.deepEqual(pseudo, [
    [":method", method],
    [":scheme", "http"],
    [":authority", "a:1"],
    [":path", `/file.txt?n=${number}`],
  ]);
  const own = got.slice(4, 4 + list.length);
  assert.deepEqual(
    own.map((field) => [field.name, field.value]),
    lower(list),
  );
  for (const field of got) assert.equal(field.isSensitive, SECRETS.includes(field.name), field.name);
  for (const field of got.slice(4 + list.length)) assert.ok(ADDED.includes(field.name), field.name);

  const data = received.filter(({ type }) => type === "DATA");
  assert.equal(sizeOf(data), method === "POST" ? size : 0);
  for (const { length } of data) assert.ok(length <= MAX_PAYLOAD, `${length} bytes`);
  assert.deepEqual(received.filter(endsStream), received.slice(-1), "one end, with the last frame");
  const heads = received.filter(({ type }) => type === "HEADERS");
  const isTrailed = method === "POST" && trailers !== null;
  assert.equal(heads.length, isTrailed ? 2 : 1);
  if (!isTrailed) return;
  assert.equal(received.at(-1), heads[1]);
  assert.deepEqual(
    heads[1]!.fields.map((field) => [field.name, field.value]),
    lower(trailers),
  );
}

/** What is left of the connection's window: nghttpd has sent no more than that. */
function windowOf(list: readonly TracedFrame[]): number {
  let window = DEFAULT_WINDOW;
  for (const frame of list) {
    if (frame.type === "DATA" && !frame.isReceived) window -= frame.length;
    if (frame.type === "WINDOW_UPDATE" && frame.isReceived && frame.stream === 0)
      window += detailOf(frame, /^\(window_size_increment=(\d+)/);
    assert.ok(window >= 0 && window <= RECEIVE_WINDOW, `a window of ${window}`);
  }
  return window;
}

/** It is credited by halves, after the data. */
const checkWindow = (list: readonly TracedFrame[]): Promise<void> =>
  until(() => windowOf(list) > RECEIVE_WINDOW / 2, "the window to be credited");

async function startTraced(t: TestContext, options: readonly string[]) {
  const directory = mkdtempSync(join(tmpdir(), "sluice-nghttpd-"));
  atEnd(t, () => rmSync(directory, { recursive: true, force: true }));
  mkdirSync(join(directory, "htdocs"));
  writeFileSync(join(directory, "htdocs/file.txt"), FILE);
  const trace = new NghttpdTrace();
  const port = await findFreePort();
  const args = ["-v", "-d", join(directory, "htdocs"), "--echo-upload", "--trailer=x-sum: 7", ...options];
  await startNghttpd(t, port, args, ["--no-tls"], trace.read);
  return { trace, port };
}

const timeouts = { connect: 10 * PING, response: 0, idle: 0, ping: PING, tunnel: 0 };
const pool = { idle: 64, idleFor: 0, connections: 0, requests: 0, age: 0 };
const missing = missingPeers("nghttpd");
const variants: Readonly<Record<string, readonly string[]>> = {
  "its defaults": [],
  "no header tables, and padding": ["-c0", "--encoder-header-table-size=0", "-b255"],
  "a small header table, and small windows": ["-c100", "-w12", "-W16"],
};

for (const [title, options] of Object.entries(variants))
  test(`nghttpd with ${title} and the client see the same frames`, { skip: missing ?? false }, async (t) => {
    const advance = mockTime(t);
    const { trace, port } = await startTraced(t, options);
    /** What a plugin sees, by number. */
    const heads = new Map<number, [status: number, Fields]>();
    const trailers = new Map<number, Fields>();
    const numberOf = (head: Head): number => Number(/n=(\d+)/.exec(head.bytes.toString("latin1"))![1]);
    const chain = [
      makeInstance(0, {
        response_head: (x) => {
          heads.set(numberOf(x.request), [x.response.status, fieldsOf(x.response)]);
          return 0;
        },
        log: (x) => {
          if (x.responseTrailers !== null) trailers.set(numberOf(x.request), fieldsOf(x.responseTrailers));
          return 0;
        },
      }),
    ];
    const plane = startPlane(t, [port], {
      chain,
      cluster: { protocol: "http2", timeouts, pool },
      timeouts: { head: 0, body: 0, write: 0, idle: 0 },
    });
    const peers: Peer[] = [];
    for (let i = 0; i < 3; i++) peers.push(await connectTo(t, plane.port));
    let count = 0;
    const check = async (peer: Peer, request: Sent): Promise<void> => {
      const number = count++;
      const response = await peer.send(textOf(request, number)).readResponse(request.method === "HEAD");
      const isPath = (field: { name: string; value: string }): boolean =>
        field.name === ":path" && field.value.endsWith(`?n=${number}`);
      const findHead = () => trace.frames.find(({ isReceived, fields: list }) => isReceived && list.some(isPath));
      await until(() => findHead() !== undefined, "the request to be printed");
      const { stream } = findHead()!;
      const framesOf = (isReceived: boolean) =>
        trace.frames.filter((frame) => frame.stream === stream && frame.isReceived === isReceived);
      await until(() => framesOf(false).some(endsStream), "the response to be printed");
      const [received, responded] = [framesOf(true), framesOf(false)];
      checkRequest(
        request,
        number,
        received.filter(({ type }) => type !== "WINDOW_UPDATE"),
      );
      const [head, ...rest] = responded.filter(({ type }) => type === "HEADERS");
      const [status, list] = heads.get(number)!;
      assert.deepEqual(list[0], [":status", `${status}`]);
      assert.deepEqual(
        list,
        head!.fields.map((field) => [field.name, field.value]),
      );
      assert.equal(response.status, status);
      assert.equal(response.body.length, sizeOf(responded));
      assert.equal(
        response.body.toString("latin1"),
        request.method === "POST" ? "x".repeat(request.size) : request.method === "GET" ? FILE : "",
      );
      const last = rest.at(-1)?.fields.map((field) => [field.name, field.value]);
      // The hook `log` is called after the response has been sent.
      if (last !== undefined) await until(() => trailers.has(number), "the trailers in the log hook");
      assert.deepEqual(trailers.get(number), last);
    };
    await fc.assert(
      fc.asyncProperty(fc.array(sent, { minLength: 3, maxLength: 12 }), async (list) => {
        const inTurn = peers.map(async (peer, at) => {
          for (let i = at; i < list.length; i += peers.length) await check(peer, list[i]!);
        });
        await Promise.all(inTurn);
        await checkWindow(trace.frames);
      }),
      { numRuns: 12 },
    );
    const { frames } = trace;
    assert.equal(new Set(frames.map(({ connection }) => connection)).size, 2, "one connection, and that of the start");
    assert.ok(!frames.some(({ type }) => type === "RST_STREAM" || type === "GOAWAY"), "no error");
    const first = frames.find(({ isReceived, type, length }) => isReceived && type === "SETTINGS" && length > 0)!;
    assert.deepEqual(
      first.details.filter((text) => text.startsWith("[")),
      ["[SETTINGS_ENABLE_PUSH(0x02):0]", "[SETTINGS_MAX_HEADER_LIST_SIZE(0x06):65536]"],
    );
    const received = (wanted: string) => frames.filter(({ isReceived, type }) => isReceived && type === wanted);
    assert.equal(received("SETTINGS").filter(({ flags }) => flags === FRAME_FLAG.acknowledge).length, 1);

    // Idle for long: verified when it is used again.
    const { now } = plane.clock;
    advance(2 * PING);
    await until(() => plane.clock.now >= now + 2 * PING, "the clock to tick");
    await check(peers[0]!, { method: "GET", fields: [], size: 0, trailers: null });
    const pings = () => frames.filter(({ type }) => type === "PING");
    await until(() => pings().length === 2, "PING and its acknowledgement");
    const [ping, acknowledgement] = pings() as [TracedFrame, TracedFrame];
    assert.deepEqual([ping.isReceived, ping.flags, ping.length], [true, 0, 8]);
    assert.deepEqual([acknowledgement.isReceived, acknowledgement.flags], [false, FRAME_FLAG.acknowledge]);
    assert.deepEqual(ping.details.at(-1), acknowledgement.details.at(-1));

    const head = received("HEADERS").length;
    peers[0]!.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nx");
    await until(() => received("HEADERS").length > head && received("DATA").at(-1)?.length === 1, "half of a request");
    peers[0]!.reset();
    await until(() => received("RST_STREAM").length === 1, "a reset");
    const [reset] = received("RST_STREAM") as [TracedFrame];
    assert.deepEqual(
      [reset.stream, reset.details],
      [received("HEADERS").at(-1)!.stream, ["(error_code=CANCEL(0x08))"]],
    );
    await check(peers[1]!, { method: "POST", fields: [], size: 70_000, trailers: [["x-end", "1"]] });
    await checkWindow(frames);
  });
