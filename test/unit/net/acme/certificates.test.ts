/** OpenSSL reads and verifies what is written. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash, X509Certificate } from "node:crypto";
import { test } from "node:test";
import { makeCertificateKey, makeChallengeCertificate, makeRequest } from "../../../../src/net/acme/certificates.ts";

const openssl = (input: Buffer | string, ...args: string[]) =>
  execFileSync("openssl", args, { input, encoding: "utf8", stdio: ["pipe", "pipe", "pipe"] });

test("OpenSSL verifies a certificate request with each type of key, and finds its names", async () => {
  const names = Array.from({ length: 100 }, (_, i) => `${"n".repeat(40)}${i}.example.com`);
  for (const [type, algorithm, kind] of [
    ["p256", /Signature Algorithm: ecdsa-with-SHA256/, /prime256v1/],
    ["p384", /Signature Algorithm: ecdsa-with-SHA384/, /secp384r1/],
    ["rsa2048", /Signature Algorithm: sha256WithRSAEncryption/, /Public-Key: \(2048 bit\)/],
  ] as const) {
    const request = makeRequest(names, await makeCertificateKey(type));
    const text = openssl(request, "req", "-inform", "der", "-noout", "-text", "-verify");
    for (const name of names) assert.ok(text.includes(`DNS:${name}`), name);
    assert.match(text, /Subject: *\n/);
    assert.match(text, algorithm);
    assert.match(text, kind);
  }
});

test("a challenge certificate has one name and the critical digest of the key authorization", () => {
  const { cert, key } = makeChallengeCertificate("a.example", "token.thumbprint");
  const certificate = new X509Certificate(cert);
  assert.equal(certificate.subjectAltName, "DNS:a.example");
  assert.ok(certificate.verify(certificate.publicKey), "it is self-signed");
  assert.ok(openssl(key, "pkey", "-noout", "-check") === "Key is valid\n");
  assert.ok(Date.parse(certificate.validFrom) < Date.now() && Date.parse(certificate.validTo) > Date.now());
  const text = openssl(cert, "x509", "-noout", "-text");
  assert.match(text, /Version: 3/);
  assert.match(text, /1\.3\.6\.1\.5\.5\.7\.1\.31: critical/);
  const digest = createHash("sha256").update("token.thumbprint").digest();
  assert.ok(certificate.raw.includes(Buffer.concat([Buffer.from([0x04, 0x22, 0x04, 0x20]), digest])));
});
