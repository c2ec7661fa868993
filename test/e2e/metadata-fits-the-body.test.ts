/** Headers that describe the body match the body that is sent: those of a body that plugins change are removed. */
import assert from "node:assert/strict";
import type { ServerResponse } from "node:http";
import { makePlugin } from "./bad-plugins.ts";
import { openSession, request } from "./http2.ts";
import { connectTo, exchange, type Recorded, startUpstream } from "./peers.ts";
import { startSluice, testInUsualMode } from "./program.ts";

const APPEND = '(import "sluice:core/1" "body_append" (func $append (param i32 i32) (result i32)))';
const LAST = '(import "sluice:core/1" "body_last" (func $last (result i32)))';
const SIZE = '(import "sluice:core/1" "body_size" (func $size (result i32)))';
const SET = '(import "sluice:core/1" "header_set" (func $set (param i32 i32 i32 i32 i32) (result i32)))';
const BODY = "(if (call $last) (then (drop (call $append (i32.const 0) (i32.const 1))))) i32.const 0";
const hook = (name: string, body: string) => `(func (export "${name}") (param i32 i32) (result i32) ${body})`;

const PLUGINS = {
  // Adds "!" at the end of bodies both ways.
  rewrites: makePlugin(
    "response_body",
    BODY,
    `${APPEND} ${LAST} (data (i32.const 0) "!") ${hook("request_body", BODY)}`,
  ),
  // The same for responses, whose entity tag it sets.
  tags: makePlugin(
    "response_body",
    BODY,
    `${APPEND} ${LAST} ${SET} (data (i32.const 0) "!etag\\22b\\22") ${hook("response_head", "(drop (call $set (i32.const 1) (i32.const 1) (i32.const 4) (i32.const 5) (i32.const 3))) i32.const 0")}`,
  ),
  // Reads bodies both ways, and imports no call that changes them.
  watches: makePlugin(
    "response_body",
    "(drop (call $size)) i32.const 0",
    `${SIZE} ${hook("request_body", "(drop (call $size)) i32.const 0")}`,
  ),
};

const OF_THE_BODY = [
  "etag",
  "content-md5",
  "digest",
  "content-digest",
  "repr-digest",
  "accept-ranges",
  "content-encoding",
];
const FIELDS = Object.fromEntries(OF_THE_BODY.map((name) => [name, name === "etag" ? '"a"' : "x"]));

function respond(request: Recorded, response: ServerResponse): void {
  response.setHeaders(new Map(Object.entries({ ...FIELDS, "last-modified": "Mon, 30 Nov 2026 02:00:00 GMT" })));
  if (request.headers["if-none-match"]) response.writeHead(304, { "content-length": 5 }).end();
  else if (request.headers.range)
    response.writeHead(206, { "content-range": "bytes 0-1/5", "content-length": 2 }).end("he");
  else if (request.url.endsWith("/slow")) {
    response.writeHead(200, { trailer: "digest" });
    response.write("hel");
    response.addTrailers({ digest: "x", "x-sum": "1" });
    slow.push(() => response.end("lo"));
  } else response.writeHead(200, { "content-length": 5 }).end("hello");
}
const slow: (() => void)[] = [];

testInUsualMode("metadata is removed where plugins change the body, and kept where they only read it", async (t) => {
  const app = await startUpstream(t, respond);
  const sluice = await startSluice(
    t,
    (ports) => `plugins:
${Object.keys(PLUGINS)
  .map((name) => `  ${name}: { wasm: ./${name}.wasm }\n`)
  .join("")}listeners:
  web:
    address: 127.0.0.1:${ports.web}
    routes:
${Object.keys(PLUGINS)
  .map((name) => `      - { match: { prefix: /${name} }, chain: [${name}], cluster: app }\n`)
  .join("")}clusters: { app: ["127.0.0.1:${app.port}"] }
`,
    { files: Object.fromEntries(Object.entries(PLUGINS).map(([name, bytes]) => [`${name}.wasm`, bytes])) },
  );
  const ask = async (path: string, { method = "GET", fields = "" } = {}) => {
    const client = await connectTo(t, sluice.port);
    client.send(`${method} ${path} HTTP/1.1\r\nHost: a\r\n${fields}\r\n`);
    const { status, headers, body } = await client.readResponse(method === "HEAD");
    client.socket.destroy();
    assert.equal(headers["last-modified"] !== undefined, true, path);
    const kept = OF_THE_BODY.filter((name) => headers[name] !== undefined);
    return { status, kept, headers, length: headers["content-length"], body: body.toString() };
  };

  for (const [how, options, status, length, body] of [
    ["GET", {}, 200, "6", "hello!"],
    ["HEAD", { method: "HEAD" }, 200, undefined, ""],
    ["304", { fields: 'If-None-Match: "a"\r\n' }, 304, undefined, ""],
    ["a range", { fields: 'Range: bytes=0-1\r\nIf-Range: "a"\r\n' }, 200, "6", "hello!"],
  ] as const) {
    const changed = await ask("/rewrites", options);
    assert.deepEqual([changed.status, changed.kept, changed.length, changed.body], [status, [], length, body], how);
    const tagged = await ask("/tags", options);
    assert.deepEqual([tagged.kept, tagged.headers.etag], [["etag"], '"b"'], how);
  }
  for (const [how, options, status, length, body] of [
    ["GET", {}, 200, "5", "hello"],
    ["HEAD", { method: "HEAD" }, 200, "5", ""],
    ["304", { fields: 'If-None-Match: "a"\r\n' }, 304, "5", ""],
    ["a range", { fields: "Range: bytes=0-1\r\n" }, 206, "2", "he"],
  ] as const) {
    const seen = await ask("/watches", options);
    assert.deepEqual([seen.status, seen.kept, seen.length, seen.body], [status, OF_THE_BODY, length, body], how);
    assert.equal(seen.headers["content-range"], status === 206 ? "bytes 0-1/5" : undefined);
  }
  // The same for clients of HTTP/2.
  const session = await openSession(t, sluice.url);
  for (const [fields, status, length, body] of [
    [{}, 200, "6", "hello!"],
    [{ ":method": "HEAD" }, 200, undefined, ""],
    [{ "if-none-match": '"a"' }, 304, undefined, ""],
    [{ range: "bytes=0-1" }, 200, "6", "hello!"],
  ] as const) {
    const got = await request(session, { ":path": "/rewrites", ...fields });
    assert.deepEqual([got.status, got.headers["content-length"], got.body.toString()], [status, length, body]);
    assert.deepEqual(
      OF_THE_BODY.filter((name) => got.headers[name] !== undefined),
      [],
    );
    const kept = await request(session, { ":path": "/watches", ...fields });
    assert.equal(kept.headers["content-length"], "range" in fields ? "2" : "5");
  }
  assert.ok(
    app.requests
      .filter(({ url }) => url === "/rewrites")
      .every(({ headers }) => !headers.range && !headers["if-range"]),
  );

  // The head was sent before the plugin changes anything: the coding describes the unchanged part.
  for (const [path, kept, body, trailers] of [
    ["/rewrites/slow", ["content-encoding"], "hello!", "x-sum: 1\r\n"],
    ["/watches/slow", OF_THE_BODY, "hello", "digest: x\r\nx-sum: 1\r\n"],
  ] as const) {
    const client = await connectTo(t, sluice.port);
    client.send(`GET ${path} HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n`);
    await client.waits(() => client.text.includes("hel"), "the first chunk");
    slow.pop()!();
    const streamed = await client.readResponse();
    assert.deepEqual(
      OF_THE_BODY.filter((name) => streamed.headers[name] !== undefined),
      kept,
      path,
    );
    assert.deepEqual([streamed.body.toString(), streamed.trailers.toLowerCase()], [body, trailers], path);
    // It lists what may follow, sent before it is known what plugins do.
    assert.equal(streamed.headers.trailer, "digest", path);
    client.socket.destroy();
  }

  const sent = ["content-md5", "digest", "content-encoding", "content-range"];
  for (const [path, left, body, trailers] of [
    ["/rewrites", ["content-range"], "abc!", ["x-sum"]],
    ["/watches", sent, "abc", ["content-digest", "x-sum"]],
  ] as const) {
    const fields = sent.map((name) => `${name}: x\r\n`).join("");
    const head = `PUT ${path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n${fields}\r\n`;
    await exchange(t, sluice.port, `${head}3\r\nabc\r\n0\r\nContent-Digest: x\r\nX-Sum: 1\r\n\r\n`);
    const passed = app.requests.pop()!;
    assert.deepEqual(
      sent.filter((name) => passed.headers[name] !== undefined),
      left,
      path,
    );
    assert.deepEqual([passed.body.toString(), Object.keys(passed.trailers)], [body, trailers], path);
  }
});
