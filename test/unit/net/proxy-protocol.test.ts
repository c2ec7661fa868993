import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { crc32c } from "../../../src/net/crc32c.ts";
import {
  MAX_HEADER,
  MAX_TLVS,
  type ProxyFacts,
  readProxyHeader,
  SIGNATURE_V2,
} from "../../../src/net/proxy-protocol.ts";

const read = (bytes: Buffer) => readProxyHeader(bytes, 0, bytes.length);
const text = (line: string) => read(Buffer.from(line, "latin1"));

function factsOf(bytes: Buffer): ProxyFacts {
  const result = read(bytes);
  assert.equal(result.state, "done", JSON.stringify(result));
  return (result as { facts: ProxyFacts }).facts;
}

const tlv = (type: number, value: Uint8Array): Buffer =>
  Buffer.concat([Buffer.from([type, value.length >> 8, value.length & 255]), value]);

function binary(command: number, family: number, ...parts: Uint8Array[]): Buffer {
  const rest = Buffer.concat(parts);
  return Buffer.concat([SIGNATURE_V2, Buffer.from([command, family, rest.length >> 8, rest.length & 255]), rest]);
}

const IPV4 = Buffer.from([192, 0, 2, 1, 10, 0, 0, 1, 0x30, 0x39, 0x01, 0xbb]);
const IPV6 = Buffer.from(`20010db8${"0".repeat(23)}1${"0".repeat(20)}ffff0a000001${"3039"}01bb`, "hex");

test("lines of version 1", () => {
  const facts = factsOf(Buffer.from("PROXY TCP4 192.0.2.1 10.0.0.1 12345 443\r\nGET /"));
  const { source, sourcePort, destination, destinationPort, version, isLocal } = facts;
  assert.deepEqual(
    [source, sourcePort, destination, destinationPort, version, isLocal],
    ["192.0.2.1", 12345, "10.0.0.1", 443, 1, false],
  );
  assert.equal(factsOf(Buffer.from("PROXY TCP6 2001:DB8:0::1 ::ffff:10.0.0.1 1 0\r\n")).source, "2001:db8::1");
  assert.equal(factsOf(Buffer.from("PROXY UNKNOWN\r\n")).source, "");
  assert.equal(factsOf(Buffer.from("PROXY UNKNOWN 192.0.2.1 anything\r\n")).source, "");
  const longest = `PROXY UNKNOWN ${"f".repeat(107 - 16)}\r\n`;
  assert.equal(longest.length, 107);
  assert.equal(text(longest).state, "done");
});

test("malformed lines of version 1", () => {
  for (const line of [
    "PROXY TCP4 192.0.2.1 10.0.0.1 12345\r\n",
    "PROXY TCP4 192.0.2.1 10.0.0.1 12345 443 \r\n",
    "PROXY TCP4  192.0.2.1 10.0.0.1 12345 443\r\n",
    "PROXY TCP4 192.0.2.1 10.0.0.1 012345 443\r\n",
    "PROXY TCP4 192.0.2.1 10.0.0.1 65536 443\r\n",
    "PROXY TCP4 192.0.2.1 10.0.0.1 -1 443\r\n",
    "PROXY TCP4 192.0.2.01 10.0.0.1 1 443\r\n",
    "PROXY TCP4 ::1 ::1 1 443\r\n",
    "PROXY TCP6 192.0.2.1 10.0.0.1 1 443\r\n",
    "PROXY TCP6 fe80::1%eth0 ::1 1 443\r\n",
    "PROXY TCP5 192.0.2.1 10.0.0.1 1 443\r\n",
    "PROXY tcp4 192.0.2.1 10.0.0.1 1 443\r\n",
    "PROXY UNKNOWNS\r\n",
    "PROXY \r\n",
    "PROXY TCP4 192.0.2.1 10.0.0.1 12345 443\n",
    `PROXY UNKNOWN ${"f".repeat(107)}\r\n`,
  ])
    assert.equal(text(line).state, "invalid", line);
  for (const line of ["proxy TCP4", "GET / HTTP/1.1", "PROXY\tTCP4", "\r\n\r\nGET", "\x16\x03\x01"])
    assert.equal(text(line).state, "none", line);
});

test("headers of version 2", () => {
  const more = factsOf(binary(0x21, 0x11, IPV4));
  assert.deepEqual([more.source, more.sourcePort, more.destinationPort], ["192.0.2.1", 12345, 443]);
  const six = factsOf(binary(0x21, 0x21, IPV6));
  assert.deepEqual([six.source, six.destination], ["2001:db8::1", "10.0.0.1"]);
  assert.equal(factsOf(binary(0x21, 0x12, IPV4)).source, "192.0.2.1", "a client of QUIC");
  assert.equal(factsOf(binary(0x21, 0x31, Buffer.alloc(216, "x"))).source, "");
  const unspecified = factsOf(binary(0x21, 0x00, tlv(2, Buffer.from("a.example"))));
  assert.deepEqual([unspecified.source, unspecified.tlvs.length, unspecified.isLocal], ["", 1, false]);
  const local = factsOf(binary(0x20, 0x11, Buffer.from("anything at all, not even TLVs")));
  assert.deepEqual([local.isLocal, local.source, local.tlvs], [true, "", []]);
});

test("TLVs, and those of TLS within their own", () => {
  const ssl = Buffer.concat([
    Buffer.from([7, 0, 0, 0, 0]),
    tlv(0x22, Buffer.from("app")),
    tlv(0x21, Buffer.from("TLSv1.3")),
  ]);
  const facts = factsOf(
    binary(
      0x21,
      0x11,
      IPV4,
      tlv(4, Buffer.alloc(5)),
      tlv(1, Buffer.from("h2")),
      tlv(0x20, ssl),
      tlv(0xea, Buffer.from("\x01vpce-1")),
    ),
  );
  assert.deepEqual(
    facts.tlvs.map(({ type, value }) => [type, value.toString()]),
    [
      [1, "h2"],
      [0xea, "\x01vpce-1"],
    ],
  );
  assert.deepEqual([facts.ssl?.client, facts.ssl?.verify], [7, 0]);
  assert.deepEqual(
    facts.ssl?.tlvs.map(({ type, value }) => [type, value.toString()]),
    [
      [0x22, "app"],
      [0x21, "TLSv1.3"],
    ],
  );
});

test("the checksum is checked", () => {
  // RFC 3720 B.4.
  assert.equal(crc32c(Buffer.alloc(32), 0, 32), 0x8a9136aa);
  const bytes = binary(0x21, 0x11, IPV4, tlv(3, Buffer.alloc(4)), tlv(2, Buffer.from("a")));
  bytes.writeUInt32BE(crc32c(bytes, 0, bytes.length), 31);
  assert.equal(read(bytes).state, "done");
  const elsewhere = Buffer.concat([Buffer.from("xyz"), bytes]);
  assert.equal(readProxyHeader(elsewhere, 3, elsewhere.length).state, "done");
  bytes[17]! ^= 1;
  assert.deepEqual(read(bytes), { state: "invalid", problem: "wrong checksum (CRC32C)" });
});

test("malformed headers of version 2", () => {
  for (const [why, bytes] of Object.entries({
    "another version": binary(0x11, 0x11, IPV4),
    "an unknown command": binary(0x22, 0x11, IPV4),
    "an unknown family": binary(0x21, 0x41, Buffer.alloc(300)),
    "an unknown transport": binary(0x21, 0x13, IPV4),
    "too short for its addresses": binary(0x21, 0x21, IPV4),
    "a TLV beyond the header": binary(0x21, 0x11, IPV4, Buffer.from([1, 0, 5, 1])),
    "half a TLV": binary(0x21, 0x11, IPV4, Buffer.from([1, 0])),
    "two checksums": binary(0x21, 0x11, IPV4, tlv(3, Buffer.alloc(4)), tlv(3, Buffer.alloc(4))),
    "a short checksum": binary(0x21, 0x11, IPV4, tlv(3, Buffer.alloc(3))),
    "a long unique id": binary(0x21, 0x11, IPV4, tlv(5, Buffer.alloc(129))),
    "a short TLV of TLS": binary(0x21, 0x11, IPV4, tlv(0x20, Buffer.alloc(4))),
    "malformed TLVs of TLS": binary(0x21, 0x11, IPV4, tlv(0x20, Buffer.alloc(7))),
    "too many TLVs": binary(0x21, 0x11, IPV4, ...Array.from({ length: MAX_TLVS + 1 }, () => tlv(4, Buffer.alloc(0)))),
    "a length over the limit": binary(0x21, 0x11, Buffer.alloc(MAX_HEADER)).subarray(0, 16),
  }))
    assert.equal(read(bytes).state, "invalid", why);
});

test("a header is complete with its last byte, and invalid bytes are reported at once", () => {
  const whole = [
    Buffer.from("PROXY TCP6 2001:db8::1 ::1 12345 443\r\n"),
    binary(0x21, 0x21, IPV6, tlv(2, Buffer.from("a.example"))),
    binary(0x20, 0x00),
  ];
  for (const bytes of whole) {
    for (let end = 0; end < bytes.length; end++) assert.equal(read(bytes.subarray(0, end)).state, "more", String(end));
    const longer = Buffer.concat([bytes, Buffer.from("GET / HTTP/1.1\r\n")]);
    const result = read(longer);
    assert.equal(result.state === "done" && result.end, bytes.length);
  }
});

test("property: any TLVs are read back, and any bytes after a signature have a result", () => {
  const tlvs = fc.array(
    fc.record({
      type: fc.integer({ min: 6, max: 255 }).filter((type) => type !== 0x20),
      value: fc.uint8Array({ maxLength: 300 }),
    }),
    { maxLength: 20 },
  );
  fc.assert(
    fc.property(tlvs, (given) => {
      const facts = factsOf(binary(0x21, 0x11, IPV4, ...given.map(({ type, value }) => tlv(type, value))));
      assert.deepEqual(
        facts.tlvs.map(({ type, value }) => [type, [...value]]),
        given.map(({ type, value }) => [type, [...value]]),
      );
    }),
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 400 }), fc.boolean(), (bytes, isText) => {
      const start = isText ? Buffer.from("PROXY ") : SIGNATURE_V2;
      const result = read(Buffer.concat([start, bytes]));
      assert.ok(result.state !== "none");
      if (result.state === "done") assert.ok(result.end <= start.length + bytes.length);
    }),
  );
});
