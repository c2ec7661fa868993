import assert from "node:assert/strict";
import { isIP } from "node:net";
import { test } from "node:test";
import fc from "fast-check";
import { readAddress, readNode, readPeer } from "../../../src/net/address.ts";

test("an address is normalised to one form", () => {
  for (const [text, address] of [
    ["192.0.2.1", "192.0.2.1"],
    ["2001:DB8::0001", "2001:db8::1"],
    ["2001:db8:0:0:0:0:0:1", "2001:db8::1"],
    ["::ffff:192.0.2.1", "192.0.2.1"],
    ["::FFFF:c000:0201", "192.0.2.1"],
    ["0:0:0:0:0:ffff:192.0.2.1", "192.0.2.1"],
    ["::1", "::1"],
  ] as const)
    assert.equal(readAddress(text), address, text);
});

test("text that is not an address on every machine is rejected", () => {
  for (const text of [
    ...["", " ", "unknown", "_hidden", "example.com", "1.2.3", "1.2.3.4.5", "256.1.1.1", "01.2.3.4", "0x7f.0.0.1"],
    ...["2130706433", "fe80::1%eth0", "fe80::1%25eth0", "::1%0", "1.2.3.4%1", "1::2::3", "[::1]", "1.2.3.4 ", "::1/64"],
  ])
    assert.equal(readAddress(text), "", text);
});

test("an entry of a list may have a port, and IPv6 brackets", () => {
  for (const [text, address] of [
    ["1.2.3.4:567", "1.2.3.4"],
    ["[::1]:80", "::1"],
    ["[2001:DB8::1]", "2001:db8::1"],
    ["[::ffff:1.2.3.4]:65535", "1.2.3.4"],
    ["2001:db8::1", "2001:db8::1"],
    ["1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8"],
    // An obfuscated port (RFC 7239 section 6.3).
    ["1.2.3.4:_gazonk", "1.2.3.4"],
    ["[2001:db8::1]:_a.b-c_9", "2001:db8::1"],
  ] as const)
    assert.equal(readNode(text), address, text);
  for (const text of [
    ...["1.2.3.4:", "1.2.3.4:65536", "1.2.3.4:x", "1.2.3.4:80:80", "[::1", "::1]", "[::1]80", "[::1]:", "[1.2.3.4]:80"],
    ...["[fe80::1%eth0]:80", "[]", '"1.2.3.4"', "1.2.3.4, 5.6.7.8", ":80", "[[::1]]"],
    ...["1.2.3.4:_", "1.2.3.4:_a b", "_gazonk", "_gazonk:80"],
  ])
    assert.equal(readNode(text), "", text);
});

test("a peer has an address without its zone, or none", () => {
  assert.equal(readPeer("fe80::1%eth0"), "fe80::1");
  assert.equal(readPeer("::ffff:127.0.0.1"), "127.0.0.1");
  assert.equal(readPeer(""), "");
});

test("a parsed address is normalised: it parses to itself", () => {
  const text = fc.oneof(fc.ipV4(), fc.ipV6(), fc.string({ unit: fc.constantFrom(..."0123456789abcdef:.[]%") }));
  fc.assert(
    fc.property(text, fc.option(fc.nat(70_000)), (address, port) => {
      const found = readNode(port === null ? address : `${address}:${port}`);
      if (found === "") return;
      assert.notEqual(isIP(found), 0);
      assert.doesNotMatch(found, /[%A-Z]/);
      assert.equal(readAddress(found), found);
    }),
    { numRuns: 3000 },
  );
});
