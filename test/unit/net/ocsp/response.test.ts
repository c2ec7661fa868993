import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { readCertificate } from "../../../../src/net/ocsp/certificate.ts";
import { makeRequest } from "../../../../src/net/ocsp/request.ts";
import { MAX_RESPONSE, verifyResponse } from "../../../../src/net/ocsp/response.ts";
import { Authority } from "../../../support/certificates.ts";
import { issuedBy, MUST_STAPLE, respond, signResponse, withResponder, writeIndex } from "../../../support/ocsp.ts";

const DAY = 86_400_000;
const authority = new Authority();
test.after(() => authority.remove());
authority.issue("site", { extensions: withResponder("http://ocsp.example/x", MUST_STAPLE) });
authority.issue("gone", { key: "rsa" });
authority.issue("delegate", { key: "rsa", extensions: ["extendedKeyUsage=OCSPSigning"] });
authority.issue("other");
writeIndex(authority, { site: "good", gone: "revoked" });
const site = issuedBy(authority, "site");
const request = makeRequest(site);
const response = respond(authority, request);
const check = (bytes: Buffer, now = Date.now(), issued = site) => verifyResponse(bytes, issued, now);

test("a certificate's responders and its must-staple extension are read", () => {
  const { responders, mustStaple } = readCertificate(site.certificate);
  assert.deepEqual([responders, mustStaple], [["http://ocsp.example/x"], true]);
  assert.deepEqual(readCertificate(issuedBy(authority, "gone").certificate).mustStaple, false);
});

test("a response of the issuer is accepted", () => {
  const { status, thisUpdate, nextUpdate } = check(response);
  assert.equal(status, "good");
  assert.ok(Math.abs(thisUpdate - Date.now()) < 60_000);
  assert.equal(nextUpdate, thisUpdate + DAY);
  const endless = respond(authority, request, { days: null });
  assert.equal(check(endless).nextUpdate, null);
  assert.throws(() => check(endless, Date.now() + 1.1 * DAY), /too old to have no nextUpdate/);
  assert.equal(check(respond(authority, request, { more: ["-resp_key_id"] })).status, "good");
});

test("a response of a delegated responder is accepted, of another certificate of the issuer not", () => {
  assert.equal(check(respond(authority, request, { signer: "delegate" })).status, "good");
  const pss = respond(authority, request, { signer: "delegate", more: ["-rsigopt", "rsa_padding_mode:pss"] });
  assert.equal(check(pss).status, "good");
  assert.throws(() => check(respond(authority, request, { signer: "other" })), /not signed by the issuer/);
});

test("revoked and unknown certificates are reported", () => {
  const gone = issuedBy(authority, "gone");
  const { status, revokedAt } = check(respond(authority, makeRequest(gone)), Date.now(), gone);
  assert.deepEqual([status, revokedAt], ["revoked", Date.UTC(2025, 0, 1)]);
  const other = issuedBy(authority, "other");
  assert.equal(check(respond(authority, makeRequest(other)), Date.now(), other).status, "unknown");
});

test("responses of other times, certificates, issuers and algorithms are rejected", () => {
  assert.throws(() => check(response, Date.now() + 2 * DAY), /expired at/);
  assert.throws(() => check(response, Date.now() - DAY), /not valid before/);
  assert.throws(() => check(response, Date.now(), issuedBy(authority, "other")), /another certificate/);
  // Another authority with the same name, whose responder signs for our certificate.
  const impostor = new Authority();
  test.after(() => impostor.remove());
  impostor.issue("site");
  writeIndex(authority, { site: "good" }, "copy.txt");
  const forged = respond(authority, request, { index: "copy.txt", more: [] });
  const issued = { certificate: site.certificate, issuer: issuedBy(impostor, "site").issuer };
  assert.throws(() => check(forged, Date.now(), issued), /another certificate/);
  const sha1 = respond(authority, request, { more: ["-rmd", "sha1"] });
  assert.throws(() => check(sha1), /unsupported algorithm/);
});

test("errors of the responder and other bytes are rejected with the reason", () => {
  assert.throws(() => check(Buffer.from([0x30, 3, 0x0a, 1, 6])), /the responder reported unauthorized/);
  assert.throws(() => check(Buffer.from("<html>")), /not an OCSP response: malformed DER/);
  assert.throws(() => check(Buffer.alloc(0)), /not an OCSP response/);
  assert.throws(() => check(Buffer.alloc(MAX_RESPONSE + 1)), /more than 32768 bytes/);
  assert.throws(() => check(Buffer.concat([response, Buffer.alloc(1)])), /not an OCSP response/);
});

test("a critical extension is rejected, as clients do", () => {
  assert.equal(check(signResponse(authority, "site")).status, "good");
  assert.throws(() => check(signResponse(authority, "site", { isCritical: true })), /unknown critical extension 2a03/);
});

test("no changed response says anything else", () => {
  const statement = check(response);
  const changed = fc.record({ at: fc.nat(response.length - 1), to: fc.nat(255), cut: fc.boolean() });
  fc.assert(
    fc.property(fc.array(changed, { minLength: 1, maxLength: 3 }), (changes) => {
      let bytes = Buffer.from(response);
      for (const { at, to } of changes) bytes[at] = to;
      if (changes[0]!.cut) bytes = bytes.subarray(0, changes[0]!.at);
      try {
        assert.deepEqual(check(bytes), statement);
      } catch (error) {
        assert.match((error as Error).message, /^the (response|responder|signature)/);
      }
    }),
    { numRuns: 3000 },
  );
});

test("any bytes are rejected with a reason", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      assert.throws(
        () => check(Buffer.concat([Buffer.from([0x30, bytes.length & 0x7f]), bytes])),
        /^Error: the respon/,
      );
    }),
  );
});
