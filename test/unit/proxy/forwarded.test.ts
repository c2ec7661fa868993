/** The client's address, scheme and host: from which peers they are taken, and what the endpoint receives. */
import assert from "node:assert/strict";
import { BlockList } from "node:net";
import { test } from "node:test";
import { PART } from "../../../src/http/head.ts";
import { type Scheme, VERSION } from "../../../src/http/protocol.ts";
import { scanRequest } from "../../../src/http1/scan.ts";
import { writeRequestHead } from "../../../src/protocol/http1/headers.ts";
import type { Downstream } from "../../../src/proxy/downstream.ts";
import { Exchange } from "../../../src/proxy/exchange.ts";
import { applyForwarded, makeForwarded } from "../../../src/proxy/forwarded.ts";
import type { ListenerState } from "../../../src/proxy/snapshot.ts";
import { assertLinear } from "../../support/steps.ts";

const trusted = new BlockList();
trusted.addSubnet("10.0.0.0", 8, "ipv4");
trusted.addSubnet("2001:db8::", 32, "ipv6");

type Seen = { client: string; scheme: string; authority: string; sent: Record<string, string> };

/** The evaluated origin of a request with these fields, and the forwarded headers. */
function see(
  fields: string,
  { peer = "10.0.0.1", target = "/", list = trusted as BlockList | null, over = "http" as Scheme } = {},
): Seen {
  const x = new Exchange();
  const bytes = Buffer.from(
    `GET ${target} HTTP/1.1\r\nHost: app.example\r\n${fields.replaceAll("\n", "\r\n")}\r\n\r\n`,
  );
  const text = fields === "" ? bytes.subarray(0, bytes.length - 2) : bytes;
  const limits = { head: 65536, target: 8192, headers: 100, path: { mergeSlashes: false, encodedSlash: "keep" } };
  assert.equal(scanRequest(text, 0, text.length, x.request, limits as never), text.length, x.request.problem);
  x.client = {
    peer,
    tls: null,
    scheme: over,
    forwarded: makeForwarded(peer, over, VERSION.http11),
  } as unknown as Downstream;
  x.listener = { trusted: list } as ListenerState;
  x.clientAddress = peer;
  x.scheme = over;
  applyForwarded(x);
  x.keepOriginal();
  const out = Buffer.alloc(70_000);
  const head = out.toString("latin1", 0, writeRequestHead(out, x));
  const sent: Record<string, string> = {};
  for (const line of head.split("\r\n").slice(1, -2)) {
    const [, name = "", value = ""] = /^([^:]*): (.*)$/.exec(line)!;
    assert.equal(sent[name.toLowerCase()], undefined, `${name} is sent twice`);
    sent[name.toLowerCase()] = value;
  }
  return {
    client: x.clientAddress,
    scheme: x.scheme,
    authority: x.request.partText(PART.authority),
    sent,
  };
}

const client = (fields: string) => see(fields).client;
const scheme = (fields: string) => see(fields).scheme;
const authority = (fields: string) => see(fields).authority;

test("a trusted proxy's address, scheme, host and port are used and forwarded", () => {
  const { sent, ...seen } = see(
    "X-Forwarded-For: 203.0.113.9\nX-Forwarded-Proto: HTTPS\nX-Forwarded-Host: shop.example\nX-Forwarded-Port: 8443\nX-Real-IP: 6.6.6.6",
  );
  assert.deepEqual(seen, { client: "203.0.113.9", scheme: "https", authority: "shop.example:8443" });
  assert.equal(sent["x-forwarded-for"], "203.0.113.9, 10.0.0.1");
  assert.equal(sent["x-forwarded-proto"], "https");
  assert.equal(sent["x-forwarded-host"], "shop.example");
  assert.equal(sent["x-forwarded-port"], "8443");
  assert.equal(sent["x-real-ip"], "203.0.113.9");
  assert.equal(sent.host, "app.example");
});

test("other peers' are ignored, as are all without trusted proxies", () => {
  const said =
    "X-Forwarded-For: 1.1.1.1\nX-Forwarded-Proto: https\nX-Forwarded-Host: evil\nX-Forwarded-Port: 1\nX-Forwarded-Prefix: /x\nForwarded: for=1.1.1.1;proto=https\nX-Real-IP: 1.1.1.1";
  for (const options of [{ peer: "192.0.2.1" }, { peer: "unknown" }, { peer: "10.0.0.1", list: null }]) {
    const { sent, ...seen } = see(said, options);
    assert.deepEqual(seen, { client: options.peer, scheme: "http", authority: "app.example" });
    const { "x-forwarded-for": address, "x-forwarded-proto": proto, "x-forwarded-host": host, ...rest } = sent;
    assert.deepEqual([address, proto, host], [options.peer, "http", "app.example"]);
    assert.deepEqual(Object.keys(rest).sort(), ["host", "via"]);
  }
});

test("an absolute target does not set the scheme, for any peer", () => {
  for (const peer of ["10.0.0.1", "192.0.2.1"]) {
    const { sent, ...seen } = see("", { peer, target: "https://other.example/a" });
    assert.deepEqual(seen, { client: peer, scheme: "http", authority: "other.example" });
    assert.equal(sent["x-forwarded-proto"], "http");
    assert.equal(sent["x-forwarded-host"], "other.example");
  }
});

test("the client is the right-most address that is not trusted; an invalid address there is `unknown`", () => {
  for (const [list, expected] of [
    ["1.1.1.1, 203.0.113.9", "203.0.113.9"],
    ["1.1.1.1, 203.0.113.9, 10.0.0.2, 10.0.0.3", "203.0.113.9"],
    ["10.0.0.5, 10.0.0.2", "10.0.0.5"],
    ["203.0.113.9:4711, 10.0.0.2:80", "203.0.113.9"],
    ["[2001:DB9::9]:80, [2001:db8::2]", "2001:db9::9"],
    ["::ffff:203.0.113.9, ::ffff:10.0.0.2", "203.0.113.9"],
    ["203.0.113.9, , ,10.0.0.2 ,", "203.0.113.9"],
    ["203.0.113.9, garbage, 10.0.0.2", "unknown"],
    ["garbage, 203.0.113.9, 10.0.0.2", "203.0.113.9"],
    ["203.0.113.9, unknown", "unknown"],
    ["203.0.113.9, fe80::1%eth0", "unknown"],
    ["203.0.113.09", "unknown"],
    ["203.0.113.9, 10.0.0.2\nX-Forwarded-For: 10.0.0.3", "203.0.113.9"],
    ["1.1.1.1\nX-Forwarded-For: 203.0.113.9", "203.0.113.9"],
    ["", "10.0.0.1"],
    [",,,", "10.0.0.1"],
  ] as const)
    assert.equal(client(`X-Forwarded-For: ${list}`), expected, list);
});

test("of several schemes and hosts the last is used, and invalid ones are ignored", () => {
  for (const [said, expected] of [
    ["https", "https"],
    ["http", "http"],
    ["wss", "https"],
    ["http, https", "https"],
    ["https, http", "http"],
    ["https\nX-Forwarded-Proto: http", "http"],
    ["ftp", "http"],
    ["https;q=1", "http"],
    ["https://", "http"],
    ["", "http"],
    ["https,", "http"],
    ["javascript:alert(1)", "http"],
  ] as const) {
    assert.equal(scheme(`X-Forwarded-Proto: ${said}`), expected, said);
    assert.equal(see(`X-Forwarded-Proto: ${said}`).sent["x-forwarded-proto"], expected, said);
  }
  for (const [said, expected] of [
    ["shop.example", "shop.example"],
    ["shop.example:8443", "shop.example:8443"],
    ["[::1]:80", "[::1]:80"],
    ["evil.example, shop.example", "shop.example"],
    ["evil.example\nX-Forwarded-Host: shop.example", "shop.example"],
    ["shop.example/../x", "app.example"],
    ["user@shop.example", "app.example"],
    ["shop.example:99999", "app.example"],
    ["sh op", "app.example"],
    ["shop.example,", "app.example"],
    ["", "app.example"],
    ["<script>", "app.example"],
  ] as const) {
    assert.equal(authority(`X-Forwarded-Host: ${said}`), expected, said);
    assert.equal(see(`X-Forwarded-Host: ${said}`).sent["x-forwarded-host"], expected, said);
  }
});

test("a port is added to a host without one, and dropped otherwise", () => {
  for (const [host, port, expected, sent] of [
    ["a", "8443", "a:8443", "8443"],
    ["a", "443", "a", "443"],
    ["a", "80", "a", "80"],
    ["a:8443", "8443", "a:8443", "8443"],
    ["a:8443", "443", "a:8443", undefined],
    ["[::1]", "8443", "[::1]:8443", "8443"],
    ["a", "0", "a", undefined],
    ["a", "65536", "a", undefined],
    ["a", "8443x", "a", undefined],
    ["a", "80, 8443", "a:8443", "8443"],
    ["a", "", "a", undefined],
  ] as const) {
    const seen = see(`X-Forwarded-Host: ${host}\nX-Forwarded-Port: ${port}`);
    assert.deepEqual([seen.authority, seen.sent["x-forwarded-port"]], [expected, sent], `${host} ${port}`);
  }
  assert.equal(authority("X-Forwarded-Port: 8443"), "app.example:8443");
});

test("Forwarded is used where there is no X-Forwarded-*, and forwarded in that form", () => {
  const { sent, ...seen } = see(
    'Forwarded: for=1.1.1.1;host=evil, For="[2001:db9::9]:4711";PROTO=https;host="shop.example:8443"\nForwarded: for=10.0.0.2;by=_x',
  );
  assert.deepEqual(seen, { client: "2001:db9::9", scheme: "https", authority: "shop.example:8443" });
  assert.equal(sent["x-forwarded-for"], "1.1.1.1, 2001:db9::9, 10.0.0.2, 10.0.0.1");
  assert.equal(sent["x-forwarded-proto"], "https");
  assert.equal(sent["x-forwarded-host"], "shop.example:8443");
  assert.equal(sent.forwarded, undefined);
  const both = see("Forwarded: for=6.6.6.6;proto=https;host=evil\nX-Forwarded-For: 203.0.113.9");
  assert.deepEqual([both.client, both.scheme, both.authority], ["203.0.113.9", "http", "app.example"]);
  assert.equal(both.sent.forwarded, undefined);
});

test("a malformed Forwarded is ignored, and the client's address is unknown", () => {
  for (const said of [
    ...['for="1.1.1.1', "for=1.1.1.1;for=2.2.2.2", "for 1.1.1.1", "for=[::1]", "for=1.1.1.1 proto=https", '="x"'],
    ...['for=1.1.1.1;proto="https', "for=1.1.1.1; ;proto=https;=", 'for="1.1.1.1"x'],
  ] as const) {
    const { sent, ...seen } = see(`Forwarded: ${said};proto=https`);
    assert.deepEqual(seen, { client: "unknown", scheme: "http", authority: "app.example" }, said);
    assert.deepEqual([sent.forwarded, sent["x-forwarded-for"]], [undefined, "10.0.0.1"], said);
  }
  for (const [said, expected] of [
    ["for=unknown", "unknown"],
    ["for=1.1.1.1, for=_hidden", "unknown"],
    ["for=1.1.1.1, proto=https", "unknown"],
    ['for="fe80::1%eth0"', "unknown"],
    ['for="1.1\\.1.1"', "1.1.1.1"],
  ] as const)
    assert.equal(client(`Forwarded: ${said}`), expected, said);
  for (const host of ['"a, b"', '"a\\"b"', '"a/b"', '""'])
    assert.equal(authority(`Forwarded: for=1.1.1.1;host=${host}`), "app.example", host);
  assert.equal(scheme("Forwarded: for=1.1.1.1;proto=gopher"), "http");
  // The proxy reads and writes only Forwarded, and has forwarded the client's other headers.
  assert.equal(client("X-Forwarded-Proto: https\nForwarded: for=203.0.113.9"), "unknown");
  assert.equal(client("X-Real-IP: 203.0.113.9\nX-Forwarded-Host: a\nForwarded: for=1.1.1.1"), "203.0.113.9");
  assert.equal(client("Forwarded: proto=https"), "10.0.0.1");
});

test("X-Real-IP is used where no other header names the client", () => {
  assert.equal(client("X-Real-IP: 203.0.113.9"), "203.0.113.9");
  assert.equal(client("X-Real-IP: garbage"), "unknown");
  assert.equal(see("X-Real-IP: garbage").sent["x-real-ip"], undefined);
  assert.equal(client("X-Real-IP: 6.6.6.6\nX-Forwarded-For: 203.0.113.9"), "203.0.113.9");
});

test("long lists are read with work linear in their length", () => {
  for (const entry of ["10.0.0.2,", ",", "x,", "   ,", "1.1.1.1 "])
    assertLinear(300, (size) => see(`X-Forwarded-For: ${entry.repeat(size / entry.length)}`), entry);
  for (const part of ['for="', "for=1.1.1.1,", ";", " ;\t", 'a="\\', "a=b;"])
    assertLinear(300, (size) => see(`Forwarded: ${part.repeat(size / part.length)}`), part);
});

test("the scheme is the connection's unless a trusted proxy reports another", () => {
  const schemes = (fields: string, peer = "10.0.0.1") => {
    const { scheme, sent } = see(fields, { peer, over: "https" });
    return [scheme, sent["x-forwarded-proto"]];
  };
  assert.deepEqual(schemes(""), ["https", "https"]);
  assert.deepEqual(schemes("Via: 1.1 other"), ["https", "https"], "with fields to append to");
  assert.deepEqual(schemes("X-Forwarded-Proto: ws"), ["http", "http"]);
  assert.deepEqual(schemes("X-Forwarded-Proto: http", "192.0.2.7"), ["https", "https"]);
  assert.deepEqual(schemes("X-Forwarded-Proto: ftp"), ["https", "https"]);
});
