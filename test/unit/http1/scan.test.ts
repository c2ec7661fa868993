import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { FIELD_WORDS, FLAG, FRAMING, Head, NAME, NAME_ID, PART } from "../../../src/http/head.ts";
import { type HeadLimits, scanRequest, scanResponse } from "../../../src/http1/scan.ts";
import { smuggling } from "../../fixtures/smuggling.ts";
import { LIMITS, listFields, readStream } from "./reader.ts";

const latin1 = (text: string): Buffer => Buffer.from(text, "latin1");

function scanText(raw: string, limits: HeadLimits = LIMITS): [number, Head] {
  const head = new Head(16, 1);
  const bytes = latin1(raw);
  return [scanRequest(bytes, 0, bytes.length, head, limits), head];
}

function request(fields: string, version = "1.1"): Head {
  const [past, head] = scanText(`GET /a HTTP/${version}\r\nHost: a\r\n${fields}\r\n`);
  assert.ok(past > 0, head.problem);
  return head;
}

function response(raw: string, toHead = false): Head {
  const head = new Head(16, 1);
  const bytes = latin1(raw);
  assert.equal(scanResponse(bytes, 0, bytes.length, head, toHead), bytes.length, head.problem);
  return head;
}

const has = (head: Head, flag: number): boolean => (head.flags & flag) !== 0;
const idAt = (head: Head, index: number): number => head.fields[index * FIELD_WORDS + NAME_ID]!;

test("a head is copied from the read buffer, with its own offsets", () => {
  const raw = latin1("junk\r\nPUT /a/b?c=d HTTP/1.1\r\nHost: e:1\r\nX-Y:  z \t\r\n\r\nbody");
  const head = new Head(16, 1);
  const past = scanRequest(raw, 6, raw.length, head, LIMITS);
  raw.fill(0, 0, past);
  assert.equal(raw.toString("latin1", past), "body");
  assert.equal(head.partText(PART.method), "PUT");
  assert.equal(head.partText(PART.authority), "e:1");
  assert.equal(head.partText(PART.path), "/a/b");
  assert.equal(head.partText(PART.query), "c=d");
  assert.deepEqual(listFields(head), [
    ["Host", "e:1"],
    ["X-Y", "z"],
  ]);
  assert.equal(head.text(0, head.end), "PUT /a/b?c=d HTTP/1.1\r\nHost: e:1\r\nX-Y:  z \t\r\n\r\n");
  assert.equal(idAt(head, 0), NAME.host);
  assert.equal(idAt(head, 1), NAME.other);
});

test("bytes above ASCII in a target are encoded when they are UTF-8, and a backslash in a query passes", () => {
  const accepted: [target: string, path: string, query: string][] = [
    ["/search?q=C:\\temp&x=1", "/search", "q=C:\\temp&x=1"],
    ["http://a/?\\", "/", "\\"],
    ["/caf\xc3\xa9/%2e?k=\xe2\x82\xac&b=\\", "/caf%C3%A9/", "k=%E2%82%AC&b=\\"],
    ["/?\xf0\x9f\x98\x80", "/", "%F0%9F%98%80"],
    ["/\xc3\xa9/../%c3%a9", "/%C3%A9", ""],
    ["/%e9", "/%E9", ""],
  ];
  for (const [target, path, query] of accepted) {
    const raw = `GET ${target} HTTP/1.1\r\nHost: a\r\n\r\n`;
    const [past, head] = scanText(raw);
    assert.deepEqual(
      [past, head.partText(PART.path), head.partText(PART.query)],
      [raw.length, path, query],
      head.problem,
    );
  }
  for (const target of [
    "/\xe9",
    "/?\xe9",
    "/\xc0\xaf",
    "/?\xc0\xaf",
    "/\xed\xa0\x80",
    "/%c3\xa9",
    "/%c0%af",
    "/%E0%80%AF",
    "/a\\b?c",
  ]) {
    const [past, head] = scanText(`GET ${target} HTTP/1.1\r\nHost: a\r\n\r\n`);
    assert.equal(past, -400, target);
    assert.match(head.problem, /UTF-8|overlong|byte that is not allowed/);
  }
});

test("a scan clears the previous head", () => {
  const [, head] = scanText("GET http://x/?y HTTP/1.0\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
  const bytes = latin1("GET /z HTTP/1.1\r\nHost: a\r\n\r\n");
  assert.equal(scanRequest(bytes, 0, bytes.length, head, LIMITS), bytes.length);
  const [, expected] = scanText(bytes.toString());
  for (const key of ["end", "count", "version", "flags", "framing", "length", "problem", "known"] as const)
    assert.equal(head[key], expected[key], key);
  assert.deepEqual(head.parts, expected.parts);
  assert.equal(scanRequest(latin1("("), 0, 1, head, LIMITS), -400);
  assert.notEqual(head.problem, "");
});

test("the body's framing is read from the fields", () => {
  const framing = (fields: string): [number, number] => {
    const head = request(fields);
    return [head.framing, head.length];
  };
  assert.deepEqual(framing(""), [FRAMING.none, 0]);
  assert.deepEqual(framing("Content-Length: 0\r\n"), [FRAMING.length, 0]);
  assert.deepEqual(framing("content-length: 0042\r\n"), [FRAMING.length, 42]);
  assert.deepEqual(framing("Content-Length: 9007199254740991\r\n"), [FRAMING.length, Number.MAX_SAFE_INTEGER]);
  assert.deepEqual(framing("transfer-encoding: Chunked\r\n"), [FRAMING.chunked, 0]);
});

test("version and Connection determine whether the connection is kept alive", () => {
  const keeps = (fields: string, version?: string): boolean => has(request(fields, version), FLAG.keepAlive);
  assert.equal(keeps(""), true);
  assert.equal(keeps("Connection: close\r\n"), false);
  assert.equal(keeps("Connection: x, Close\r\n"), false);
  assert.equal(keeps("Connection: keep-alive\r\nConnection: ,close,\r\n"), false);
  assert.equal(keeps("Connection: closed\r\n"), true);
  assert.equal(keeps("", "1.0"), false);
  assert.equal(keeps("Connection: Keep-Alive\r\n", "1.0"), true);
  assert.equal(keeps("Connection: keep-alive, close\r\n", "1.0"), false);
});

test("upgrades, expectations and TE set flags", () => {
  assert.ok(has(request("Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"), FLAG.upgrade));
  assert.ok(!has(request("Upgrade: websocket\r\n"), FLAG.upgrade));
  assert.ok(!has(request("Connection: upgrade\r\n"), FLAG.upgrade));
  assert.ok(!has(request("Connection: upgrade\r\nUpgrade: websocket\r\n", "1.0"), FLAG.upgrade));
  assert.ok(has(request("Expect: 100-Continue\r\n"), FLAG.expectContinue));
  assert.ok(!has(request("Expect: 100-continue\r\n", "1.0"), FLAG.expectContinue));
  assert.ok(has(request("TE: gzip;q=0.5, Trailers\r\n"), FLAG.teTrailers));
  assert.ok(has(request("TE: trailers;q=1\r\n"), FLAG.teTrailers));
  assert.ok(!has(request("TE: trailer, gzip\r\n"), FLAG.teTrailers));
});

test("headers named by Connection are hop-by-hop, except those for authorization and routing", () => {
  const head = request(
    "X-Hop: 1\r\nConnection: x-hop , HOST, authorization, X-Forwarded-Port,cookie, content-length, absent, a b\r\n" +
      "Authorization: b\r\nx-HOP: 2\r\nX-Forwarded-Port: c\r\nCookie: d\r\nContent-Length: 0\r\nX-Hops: e\r\n",
  );
  const left: string[] = [];
  for (const [index, [name]] of listFields(head).entries()) if (idAt(head, index) !== NAME.nominated) left.push(name);
  assert.deepEqual(left, [..."Host|Connection|Authorization|X-Forwarded-Port|Cookie|Content-Length|X-Hops".split("|")]);
  assert.equal(head.get("x-hop"), undefined);
  assert.equal(scanText(`GET / HTTP/1.1\r\nHost: a\r\nConnection: ${"a,".repeat(33)}\r\n\r\n`)[0], -400);
});

test("aliases of X-Forwarded-* are removed", () => {
  const head = request("X_Forwarded_For: b\r\nX-Forwarded-For: c\r\nx_y: d\r\n");
  assert.deepEqual([idAt(head, 1), idAt(head, 2), idAt(head, 3)], [NAME.lookalike, NAME["x-forwarded-for"], 0]);
  assert.equal(head.get("x_forwarded_for"), undefined);
  assert.equal(head.get("x_y"), "d");
});

test("the authority of an absolute target replaces Host", () => {
  const [past, head] = scanText("GET HTTPS://b.example:81/x?y HTTP/1.1\r\nHost: a\r\n\r\n");
  assert.ok(past > 0);
  assert.ok(has(head, FLAG.absolute));
  assert.equal(head.partText(PART.authority), "b.example:81");
  assert.equal(head.get("host"), "b.example:81");
  assert.deepEqual([head.partText(PART.path), head.partText(PART.query)], ["/x", "y"]);
  const paths: [string, string][] = [
    ["GET http://b HTTP/1.0", "/"],
    ["GET http://b?y HTTP/1.0", "/"],
    ["OPTIONS http://b HTTP/1.0", "*"],
    ["OPTIONS http://b?y HTTP/1.0", "/"],
    ["OPTIONS http://b/ HTTP/1.0", "/"],
    ["GET http://b/../x HTTP/1.0", "/x"],
  ];
  for (const [line, path] of paths) {
    const [end, found] = scanText(`${line}\r\n\r\n`);
    assert.ok(end > 0, line);
    assert.deepEqual([found.partText(PART.path), found.get("host")], [path, "b"], line);
  }
  assert.equal(scanText("GET http://b/ HTTP/1.1\r\n\r\n")[0], -400);
  assert.equal(scanText("GET http://b/ HTTP/1.1\r\nHost: \r\n\r\n")[0], -400);
});

test("an empty query differs from none", () => {
  const [, none] = scanText("GET /a HTTP/1.0\r\n\r\n");
  const [, empty] = scanText("GET /a? HTTP/1.0\r\n\r\n");
  assert.deepEqual([none.partText(PART.query), none.parts[PART.query + 1]], ["", 0]);
  assert.deepEqual([empty.partText(PART.query), empty.parts[PART.query + 1]], ["", 7]);
});

test("limits are reported as soon as they are exceeded, also by an incomplete head", () => {
  const limits: HeadLimits = { head: 100, target: 20, headers: 3 };
  const status = (raw: string): number => scanText(raw, limits)[0];
  assert.equal(status(`GET /${"a".repeat(18)}`), 0);
  assert.equal(status(`GET /${"a".repeat(19)}`), 0);
  assert.equal(status(`GET /${"a".repeat(20)}`), -414);
  assert.equal(status(`GET /?${"a".repeat(19)}`), -414);
  assert.equal(status(`GET http://a/${"a".repeat(12)}`), -414);
  assert.equal(status(`GET http://${"a".repeat(14)}`), -414);
  assert.ok(status(`GET /${"a".repeat(19)} HTTP/1.0\r\n\r\n`) > 0);
  const start = "GET / HTTP/1.0\r\nx: ";
  const full = `${start}${"y".repeat(100 - start.length - 4)}\r\n\r\n`;
  assert.equal(status(full), 100);
  assert.equal(status(full.slice(0, -1)), 0);
  assert.equal(status(full.replace("yy", "yyy")), -431);
  assert.equal(status(`${start}${"y".repeat(100 - start.length)}`), -431);
  assert.equal(status(`\r\n${full}`), 102);
  assert.equal(status(`GET / HTTP/1.0\r\n${"a:b\r\n".repeat(3)}\r\n`), 33);
  assert.equal(status(`GET / HTTP/1.0\r\n${"a:b\r\n".repeat(4)}`), -431);
  assert.equal(status(`${"A".repeat(32)} / HTTP/1.0\r\n\r\n`) > 0, true);
  assert.equal(status("A".repeat(33)), -400);
});

test("invalid input is rejected at its first invalid byte", () => {
  const heads = [
    ["\x16", -400],
    ["GE\0", -400],
    ["\r\n\r", -400],
    ["GET x", -400],
    ["GET hs", -400],
    ["GET https:/x", -400],
    // Whether bytes above ASCII are UTF-8 is seen when the head is complete.
    ["GET /\x80", 0],
    ["GET /\x80 HTTP/1.1\r\nHost: a\r\n\r\n", -400],
    ["GET /\\", -400],
    ["GET / J", -400],
    ["GET / HTTP/2", 0],
    ["GET / HTTP/2.0", -505],
    ["GET / HTTP/1.1\n", -400],
    ["GET / HTTP/1.1\r\n ", -400],
    ["GET / HTTP/1.1\r\nA ", -400],
    ["GET / HTTP/1.1\r\nA: b\0", -400],
    ["GET / HTTP/1.1\r\nA: b\rx", -400],
    ["GET / HTTP/1.1\r\nContent-Length: x\r\n", -400],
    ["GET / HTTP/1.1\r\nTransfer-Encoding: x\r\n", -501],
    ["CONNECT ", -405],
    ["TRACE ", -405],
  ] as const;
  for (const [raw, expected] of heads) assert.equal(scanText(raw)[0], expected, JSON.stringify(raw));
});

test("a response's framing is read from method, status and fields", () => {
  const framing = (line: string, fields: string, toHead = false): [number, number, boolean] => {
    const head = response(`HTTP/1.1 ${line}\r\n${fields}\r\n`, toHead);
    return [head.framing, head.length, has(head, FLAG.keepAlive)];
  };
  const length = "Content-Length: 5\r\n";
  const coding = "Transfer-Encoding: chunked\r\n";
  assert.deepEqual(framing("200 OK", length), [FRAMING.length, 5, true]);
  assert.deepEqual(framing("200 OK", coding), [FRAMING.chunked, 0, true]);
  assert.deepEqual(framing("200 OK", ""), [FRAMING.close, 0, false]);
  assert.deepEqual(framing("200 OK", `Connection: close\r\n${length}`), [FRAMING.length, 5, false]);
  assert.deepEqual(framing("200 OK", length, true), [FRAMING.none, 5, true]);
  assert.deepEqual(framing("200 OK", coding, true), [FRAMING.none, 0, true]);
  for (const status of [100, 101, 103, 204, 304])
    assert.deepEqual(framing(`${status} X`, length), [FRAMING.none, 5, true], String(status));
  assert.equal(has(response("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"), FLAG.keepAlive), false);
  const kept = response("HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n");
  assert.equal(has(kept, FLAG.keepAlive), true);
  const upgraded = response("HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
  assert.equal(has(upgraded, FLAG.upgrade), true);
  assert.equal(upgraded.status, 101);
});

test("an endpoint that speaks HTTP/2 is named as such", () => {
  const head = new Head();
  const settings = Buffer.from([0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 100]);
  assert.equal(scanResponse(settings, 0, settings.length, head, false), -502);
  assert.equal(head.problem, "HTTP/2 instead of HTTP/1: the cluster needs protocol http2");
});

test("the size of a response head is limited", () => {
  const head = new Head();
  const scanFields = (fields: string): number => {
    const bytes = latin1(`HTTP/1.1 200 OK\r\n${fields}`);
    return scanResponse(bytes, 0, bytes.length, head, false);
  };
  assert.ok(scanFields(`x: ${"y".repeat(64 * 1024 - 17 - 7)}\r\n\r\n`) > 0);
  assert.equal(scanFields(`x: ${"y".repeat(64 * 1024 - 17 - 6)}\r\n\r\n`), -502);
  assert.equal(scanFields(`x: ${"y".repeat(64 * 1024)}`), -502);
  assert.ok(scanFields(`${"x:\r\n".repeat(256)}\r\n`) > 0);
  assert.equal(scanFields("x:\r\n".repeat(257)), -502);
});

const stream = fc.constantFrom(...smuggling).chain((shape) =>
  fc.record({
    direction: fc.constant(shape.direction),
    raw: fc.constantFrom(shape.raw, shape.raw + shape.raw, `${shape.raw}GET / HTTP/1.1\r\nHost: a\r\n\r\n`),
    cuts: fc.array(fc.nat(shape.raw.length * 2), { maxLength: 10 }),
  }),
);

test("a stream is parsed the same for all splits", () => {
  const limits: HeadLimits = { head: 120, target: 30, headers: 4 };
  fc.assert(
    fc.property(stream, fc.constantFrom(LIMITS, limits), ({ direction, raw, cuts }, bounds) => {
      const bytes = latin1(raw);
      assert.deepEqual(readStream(direction, bytes, cuts, bounds), readStream(direction, bytes, [], bounds));
    }),
    { numRuns: 500 },
  );
});

test("what is not HTTP is rejected with its cause", () => {
  assert.equal(scanText("\x16\x03\x01\x02\x00\x01\x00")[1].problem, "a TLS handshake on a listener without TLS");
  assert.equal(scanText("\0 / HTTP/1.1\r\n\r\n")[1].problem, "the request line does not begin with a method");
});
