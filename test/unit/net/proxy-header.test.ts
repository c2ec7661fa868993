import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { readAddress } from "../../../src/net/address.ts";
import type { Connection } from "../../../src/net/connection.ts";
import { makeProxyHeader, PROXY_TLVS } from "../../../src/net/proxy-header.ts";
import { type ProxyFacts, readProxyHeader } from "../../../src/net/proxy-protocol.ts";
import { findSslTlv, findTlv } from "../../../src/net/proxy-values.ts";
import type { TlsFacts } from "../../../src/net/tls-facts.ts";

type Client = Pick<Connection, "peerAddress" | "proxied" | "tls" | "socket">;

const plain = (source: string, localAddress: string): Client => ({
  peerAddress: source,
  proxied: null,
  tls: null,
  socket: { remotePort: 12345, localAddress, localPort: 443 } as Connection["socket"],
});

const TLS: TlsFacts = {
  serverName: "a.example",
  version: "TLSv1.3",
  cipher: "TLS_AES_128_GCM_SHA256",
  protocol: "h2",
  clientSubject: "CN=app\\, the first,O=Example",
  clientNames: "",
  clientFingerprint: "ab",
};

function read(header: Buffer): ProxyFacts {
  const result = readProxyHeader(header, 0, header.length);
  assert.equal(result.state, "done", JSON.stringify(result));
  assert.equal((result as { end: number }).end, header.length);
  return (result as { facts: ProxyFacts }).facts;
}

const V1 = { version: 1, tlvs: [] } as const;
const V2 = { version: 2, tlvs: PROXY_TLVS } as const;

test("lines of version 1", () => {
  const line = (client: Client | null) => makeProxyHeader(V1, client).toString();
  assert.equal(line(plain("192.0.2.1", "::ffff:10.0.0.1")), "PROXY TCP4 192.0.2.1 10.0.0.1 12345 443\r\n");
  assert.equal(line(plain("2001:db8::1", "::1")), "PROXY TCP6 2001:db8::1 ::1 12345 443\r\n");
  for (const client of [null, plain("", ""), plain("2001:db8::1", "10.0.0.1")])
    assert.equal(line(client), "PROXY UNKNOWN\r\n");
});

test("headers of version 2 with every TLV, verified by their checksum", () => {
  const facts = {
    ...read(makeProxyHeader(V2, { ...plain("192.0.2.1", "10.0.0.1"), tls: TLS }, TLS.serverName)),
    peer: "",
  };
  assert.deepEqual([facts.source, facts.destination, facts.sourcePort], ["192.0.2.1", "10.0.0.1", 12345]);
  assert.deepEqual(
    [1, 2].map((type) => String(findTlv(facts.tlvs, type))),
    ["h2", "a.example"],
  );
  assert.match(String(findTlv(facts.tlvs, 5)), /^[0-9a-f-]{36}$/);
  assert.deepEqual([facts.ssl?.client, facts.ssl?.verify], [7, 0]);
  assert.deepEqual(
    [0x21, 0x22, 0x23].map((type) => String(findSslTlv(facts, type))),
    ["TLSv1.3", "app, the first", "TLS_AES_128_GCM_SHA256"],
  );
  const anonymous = { ...TLS, clientSubject: "", clientFingerprint: "" };
  const { ssl } = read(makeProxyHeader(V2, { ...plain("192.0.2.1", "10.0.0.1"), tls: anonymous }));
  assert.deepEqual([ssl?.client, ssl?.verify, ssl?.tlvs.length], [1, 1, 2]);
  assert.equal(read(makeProxyHeader(V2, null)).isLocal, true);
  assert.equal(read(makeProxyHeader(V2, plain("", ""))).isLocal, false);
});

test("what was received is passed on, and a unique id stays the same", () => {
  const first = { ...plain("192.0.2.1", "10.0.0.1"), tls: TLS };
  const proxied = { ...read(makeProxyHeader(V2, first, TLS.serverName)), peer: "10.0.0.9" };
  const behind: Client = { ...plain("192.0.2.1", "10.0.0.2"), proxied };
  const facts = read(makeProxyHeader(V2, behind));
  assert.deepEqual([facts.source, facts.destination, facts.ssl], [proxied.source, proxied.destination, proxied.ssl]);
  for (const type of [1, 2, 5]) assert.deepEqual(findTlv(facts.tlvs, type), findTlv(proxied.tlvs, type));
  const again = read(makeProxyHeader(V2, first, TLS.serverName));
  assert.deepEqual(findTlv(again.tlvs, 5), findTlv(proxied.tlvs, 5));
});

test("a checksum fits, however long the values are that a load balancer has sent", () => {
  for (let length = 15_330; length < 15_370; length++) {
    const tlvs = [{ type: 2, value: Buffer.alloc(length, "a") }];
    const proxied = { ...read(makeProxyHeader(V2, plain("192.0.2.1", "10.0.0.1"))), tlvs, peer: "10.0.0.9" };
    const behind: Client = { ...plain("192.0.2.1", "10.0.0.2"), proxied };
    const header = makeProxyHeader({ version: 2, tlvs: ["authority", "crc32c"] }, behind);
    const authority = findTlv(read(header).tlvs, 2);
    assert.ok(authority === null || authority.equals(tlvs[0]!.value), String(length));
    assert.equal(header.readUInt8(header.length - 7), 3, String(length));
  }
});

test("property: addresses of any family are read back", () => {
  const address = fc.oneof(fc.ipV4(), fc.ipV6()).map(readAddress);
  fc.assert(
    fc.property(address, address, (source, destination) => {
      const facts = read(makeProxyHeader({ version: 2, tlvs: ["crc32c"] }, plain(source, destination)));
      assert.deepEqual([facts.source, facts.destination], [source, destination]);
      const line = read(makeProxyHeader(V1, plain(source, destination)));
      if (line.source !== "") assert.deepEqual([line.source, line.destination], [source, destination]);
    }),
  );
});
