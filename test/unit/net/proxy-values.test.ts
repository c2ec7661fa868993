import assert from "node:assert/strict";
import { test } from "node:test";
import type { Proxied, ProxySsl } from "../../../src/net/proxy-protocol.ts";
import { findSslTlv, isProxyValue, proxyValue } from "../../../src/net/proxy-values.ts";

const ssl = (client: number, verify: number): ProxySsl => ({
  client,
  verify,
  tlvs: [
    { type: 0x21, value: Buffer.from("TLSv1.3") },
    { type: 0x22, value: Buffer.from("app") },
    { type: 0x28, value: Buffer.from("certificate") },
  ],
});

const proxied = (more: Partial<Proxied>): Proxied => ({
  version: 2,
  isLocal: false,
  source: "192.0.2.1",
  sourcePort: 1,
  destination: "2001:db8::1",
  destinationPort: 443,
  tlvs: [],
  ssl: null,
  peer: "10.0.0.1",
  ...more,
});

test("what describes a certificate is absent unless the sender has verified it", () => {
  for (const [client, verify, isVerified] of [
    [7, 0, true],
    [3, 0, true],
    [5, 0, true],
    [7, 1, false],
    [1, 0, false],
  ] as const) {
    const one = proxied({ ssl: ssl(client, verify) });
    assert.equal(proxyValue(one, "ssl_cn"), isVerified ? "app" : "", `${client} ${verify}`);
    assert.equal(findSslTlv(one, 0x28) !== null, isVerified);
    assert.equal(proxyValue(one, "ssl_version"), "TLSv1.3");
  }
  assert.equal(proxyValue(proxied({}), "ssl_cn"), "");
});

test("values by name, and TLVs by number; bytes that are no text in hexadecimal", () => {
  const tlvs = [
    { type: 0xea, value: Buffer.from("\x01vpce-1") },
    { type: 0xe0, value: Buffer.from([0, 1, 255]) },
    { type: 0x02, value: Buffer.alloc(1000, "a") },
  ];
  const one = proxied({ tlvs });
  const read = (name: string) => proxyValue(one, name);
  assert.deepEqual(["peer", "version", "destination", "vpce_id", "tlv_e0", "tlv_ea"].map(read), [
    "10.0.0.1",
    "2",
    "[2001:db8::1]:443",
    "vpce-1",
    "0001ff",
    "01767063652d31",
  ]);
  assert.equal(read("authority").length, 256);
  assert.deepEqual([read("alpn"), read("tlv_05")], ["", ""]);
  assert.equal(proxyValue(proxied({ peer: "", destination: "" }), "peer"), "unix");
  for (const name of ["tlv_ff", "unique_id"]) assert.ok(isProxyValue(name));
  for (const name of ["tlv_FF", "tlv_1", "source", ""]) assert.ok(!isProxyValue(name));
});
