import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:net";
import { test } from "node:test";
import { type ConnectionOptions, connect } from "node:tls";
import fc from "fast-check";
import { readClientHello, readOfferedProtocols, readTls12Offer } from "../../../src/net/client-hello.ts";

/** The ClientHello of node:tls. */
async function helloOf(servername: string, options: ConnectionOptions = {}): Promise<Buffer> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  const client = connect({ ...options, port, host: "127.0.0.1", servername });
  client.on("error", () => undefined);
  const [socket] = await once(server, "connection");
  const [hello] = await once(socket, "data");
  socket.destroy();
  server.close();
  return hello;
}

/** The same message in records of `size` bytes. */
function split(hello: Buffer, size: number): Buffer {
  const message = hello.subarray(5);
  const records: Buffer[] = [];
  for (let at = 0; at < message.length; at += size) {
    const part = message.subarray(at, at + size);
    records.push(Buffer.from([22, 3, 1, part.length >> 8, part.length & 255]), part);
  }
  return Buffer.concat(records);
}

const read = (bytes: Buffer) => readClientHello(bytes, 0, bytes.length);

test("the server name is found for every split of the hello into records and reads", async () => {
  for (const name of ["a.example", ""]) {
    const hello = await helloOf(name);
    for (const size of [1, 100, 10_000]) {
      const bytes = split(hello, size);
      assert.deepEqual(read(bytes), {
        state: "complete",
        serverName: name,
        staplingSchemes: Buffer.alloc(0),
        isChallenge: false,
        offersTls13: true,
        missing: 0,
      });
      for (let end = 0; end < bytes.length; end += 7) assert.equal(readClientHello(bytes, 0, end).state, "more");
    }
  }
});

test("the offered protocols are found for every split into records, and are bounded", async () => {
  const offered = (bytes: Buffer) => readOfferedProtocols(bytes, 0, bytes.length);
  const hello = await helloOf("a.example", { ALPNProtocols: ["h2", "x/1", "http/1.1"] });
  for (const size of [1, 100, 10_000]) assert.deepEqual(offered(split(hello, size)), ["h2", "x/1", "http/1.1"]);
  assert.deepEqual(offered(await helloOf("a.example")), []);
  const many = Array.from({ length: 200 }, (_, i) => `p${i}`);
  assert.deepEqual(offered(await helloOf("", { ALPNProtocols: many })), many.slice(0, 32));
  // A length that lies gives none, or those before it, and never throws.
  const at = hello.indexOf("\x02h2", 0, "latin1");
  for (let byte = 0; byte < 256; byte++)
    for (const index of [at - 2, at - 1, at, at + 3]) {
      const changed = Buffer.from(hello);
      changed[index] = byte;
      offered(changed);
    }
});

test("a client of TLS 1.3 that asks for an OCSP response has its signature schemes", async () => {
  const sigalgs = "rsa_pss_rsae_sha256:ecdsa_secp256r1_sha256";
  const schemesOf = async (options: ConnectionOptions) =>
    read(await helloOf("a.example", options)).staplingSchemes.toString("hex");
  assert.equal(await schemesOf({ requestOCSP: true, sigalgs }), "000408040403");
  assert.equal(await schemesOf({ sigalgs }), "");
  assert.ok(!read(await helloOf("a.example", { maxVersion: "TLSv1.2" })).offersTls13);
  assert.deepEqual(await schemesOf({ requestOCSP: true, sigalgs, maxVersion: "TLSv1.2" }), "");
});

test("a client of TLS 1.2 that asks for an OCSP response has its suites, groups and signatures", async () => {
  const hex = async (options: ConnectionOptions) => {
    const bytes = await helloOf("a.example", { maxVersion: "TLSv1.2", ...options });
    const offer = readTls12Offer(bytes, 0, bytes.length);
    return offer && [offer.suites, offer.groups, offer.schemes].map((one) => one.toString("hex"));
  };
  const given = { sigalgs: "RSA+SHA256", ecdhCurve: "P-256", ciphers: "ECDHE-RSA-AES128-GCM-SHA256" };
  assert.deepEqual(await hex({ requestOCSP: true, ...given }), ["c02f", "00020017", "00020401"]);
  assert.equal(await hex(given), null);
  const bytes = await helloOf("a.example", { maxVersion: "TLSv1.2", requestOCSP: true, ...given });
  // No content reads out of bounds.
  for (let at = 5; at < bytes.length; at++)
    for (const value of [0, 1, 127, 255]) {
      const changed = Buffer.from(bytes);
      changed[at] = value;
      readTls12Offer(changed, 0, changed.length);
    }
  for (let end = 0; end < bytes.length; end++) readTls12Offer(bytes, 0, end);
});

test("a validation by TLS-ALPN-01 offers its protocol only", async () => {
  const isChallenge = async (...ALPNProtocols: string[]) =>
    read(await helloOf("a.example", { ALPNProtocols })).isChallenge;
  assert.deepEqual(await Promise.all([isChallenge("acme-tls/1"), isChallenge("h2"), isChallenge()]), [
    true,
    false,
    false,
  ]);
  assert.equal(await isChallenge("acme-tls/1", "h2"), false);
  assert.equal(await isChallenge("h2", "acme-tls/1"), false);
});

test("a hello in tiny records is parsed only a few times", () => {
  const message = Buffer.alloc(32_000);
  message[0] = 1;
  message.writeUIntBE(message.length - 4, 1, 3);
  const bytes = split(Buffer.concat([Buffer.alloc(5), message]), 1);
  let calls = 0;
  for (let end = 0; end < bytes.length; calls++) {
    const { state, missing } = readClientHello(bytes, 0, end);
    assert.ok(state === "more" && missing > 0);
    end += missing;
  }
  assert.equal(read(bytes).state, "complete");
  assert.ok(calls < 100, `${calls} calls`);
});

test("a server name may have any bytes, also those that no certificate can contain", async () => {
  const hello = await helloOf("a.example");
  for (const [name, found] of [
    ["\xe9.Examp\0", "\xe9.examp\0"],
    ["a.example", "a.example"],
    ["A b.exam.", "a b.exam."],
  ] as const) {
    const bytes = Buffer.from(hello);
    bytes.write(name, bytes.indexOf("a.example"), "latin1");
    assert.equal(read(bytes).serverName.slice(0, found.length), found);
  }
});

test("bytes that are not a handshake record are reported as plain text", () => {
  for (const text of ["GET / HTTP/1.1", "\x80\x2e\x01", "\x00", "\x15\x03"])
    assert.equal(read(Buffer.from(text, "latin1")).state, "plain");
});

test("a hello that declares more than the limit is refused by its first bytes", () => {
  const declare = (record: number, message: number) =>
    readClientHello(Buffer.from([22, 3, 1, record >> 8, record & 255, 1, 0, message >> 8, message & 255]), 0, 9);
  assert.equal(declare(16_384, 32_764).state, "more");
  assert.equal(declare(16_384, 32_765).state, "oversize");
  assert.equal(declare(16_384, 65_535).state, "oversize");
  assert.equal(declare(4, 65_535).state, "oversize");
  // A record that is too long is for OpenSSL to refuse.
  assert.deepEqual([declare(16_385, 100).state, declare(65_535, 65_531).state], ["complete", "complete"]);
});

test("any bytes: it never throws, and never expects more than a hello can have", async () => {
  const hello = await helloOf("a.example");
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(hello.length - 1), fc.nat(255))), fc.nat(hello.length), (edits, end) => {
      const bytes = Buffer.from(hello);
      for (const [at, byte] of edits) bytes[at] = byte;
      readClientHello(bytes, 0, end);
    }),
  );
  const endless = Buffer.concat([Buffer.from([22, 3, 1, 0xff, 0xff, 1, 0xff, 0xff, 0xff]), Buffer.alloc(100)]);
  assert.equal(read(endless).state, "complete");
});
