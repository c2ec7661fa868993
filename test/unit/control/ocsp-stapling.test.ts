import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { type TestContext, test } from "node:test";
import { OcspStapling, type OcspStaplingOptions } from "../../../src/control/ocsp-stapling.ts";
import { makeRequest } from "../../../src/net/ocsp/request.ts";
import type { Staple } from "../../../src/net/staples.ts";
import { ThrottledLog } from "../../../src/observe/throttled-log.ts";
import type { CertificateInfo } from "../../../src/plan/tls-files.ts";
import { checkOcsp } from "../../../src/plan/tls-ocsp.ts";
import { Authority } from "../../support/certificates.ts";
import { issuedBy, MUST_STAPLE, respond, signResponse, withResponder, writeIndex } from "../../support/ocsp.ts";

const HOUR = 3_600_000;
const authority = new Authority();
test.after(() => authority.remove());
authority.issue("site", { extensions: withResponder("http://ocsp.example/", MUST_STAPLE) });
authority.issue("gone", { extensions: withResponder("http://ocsp.example/gone") });
writeIndex(authority, { site: "good" });

function certificate(name: string, file?: Buffer): CertificateInfo {
  const chain = [name, "ca"].map((one) => new X509Certificate(authority.read(`${one}.pem`)));
  const found = file && { path: "site.ocsp", content: file };
  const { warning: _, ...ocsp } = checkOcsp({ path: `${name}.pem`, chain, mode: "fetch", file: found }, Date.now());
  return { listener: "web", file: `${name}.pem`, names: [], expires: 0, ocsp, renewedAt: 0 };
}

/** The site's certificate is good, the other revoked. */
function respondTo(request: Buffer): Buffer {
  const isSite = request.equals(makeRequest(issuedBy(authority, "site")));
  return isSite ? signResponse(authority, "site") : signResponse(authority, "gone", { status: "revoked" });
}

/** A responder that responds as `respond`, and a clock that starts now. */
function start(t: TestContext) {
  t.mock.timers.enable({ apis: ["setTimeout", "Date"], now: Date.now() });
  const lines: string[] = [];
  const add = ({ cause = "" }: { cause?: string }, text: string): void => void lines.push(`${text} ${cause}`.trim());
  const posted: (Staple | null)[] = [];
  const responder = { requests: 0, respond: respondTo };
  const stapling = new OcspStapling({
    log: { info: add, error: add } as unknown as OcspStaplingOptions["log"],
    warnings: new ThrottledLog(
      (_, message, fields) => add(fields, message),
      () => Date.now(),
    ),
    onStaple: (_, staple) => posted.push(staple),
    fetch: async (_, request) => {
      responder.requests++;
      return responder.respond(request);
    },
  });
  t.after(() => stapling.close());
  /** Moves the clock, step by step, since timers are set by promises. */
  const pass = async (ms: number, step = HOUR / 4) => {
    for (let left = ms; left > 0; left -= step) {
      t.mock.timers.tick(Math.min(step, left));
      for (let i = 0; i < 10; i++) await Promise.resolve();
    }
  };
  return { stapling, responder, lines, posted, pass };
}
const fail = (): never => {
  throw new Error("connect ECONNREFUSED");
};

test("a response is refreshed at half of its validity, and kept until it expires while the responder is down", async (t) => {
  const { stapling, responder, lines, posted, pass } = start(t);
  const site = certificate("site");
  await stapling.prepare([site]);
  stapling.take([site]);
  assert.equal(stapling.describe(site).state, "stapled");
  assert.equal(posted.length, 1);
  await pass(11.5 * HOUR);
  assert.equal(responder.requests, 1);
  responder.respond = fail;
  await pass(HOUR);
  assert.ok(responder.requests > 3);
  assert.deepEqual(
    [stapling.describe(site).state, stapling.describe(site).problem],
    ["stapled", "connect ECONNREFUSED"],
  );
  assert.equal(lines[1], "no OCSP response was received connect ECONNREFUSED");
  await pass(12 * HOUR);
  assert.deepEqual([stapling.describe(site).state, stapling.describe(site).until], ["failed", null]);
  assert.ok(lines.includes("must-staple certificate has no valid OCSP response connect ECONNREFUSED"));
  assert.equal(stapling.counts.unreachable, responder.requests - 1);
  responder.respond = respondTo;
  await pass(HOUR);
  assert.equal(stapling.describe(site).state, "stapled");
  assert.equal(posted.length, 2);
});

test("a response without nextUpdate is kept for an hour", async (t) => {
  const { stapling, responder } = start(t);
  responder.respond = (request) => respond(authority, request, { days: null });
  const site = certificate("site");
  await stapling.prepare([site]);
  assert.equal(stapling.describe(site).until, new Date(Date.now() + HOUR).toISOString());
  const [{ until } = { until: null }] = stapling.list([site]);
  assert.equal(until, Date.now() + HOUR);
});

test("a revoked certificate is logged, and its earlier response is not sent any more", async (t) => {
  const { stapling, responder, lines, posted, pass } = start(t);
  const [site, gone] = [certificate("site"), certificate("gone")];
  await stapling.prepare([site, gone]);
  stapling.take([site, gone]);
  await pass(1);
  assert.equal(stapling.describe(gone).state, "revoked");
  assert.deepEqual(lines.splice(0).sort(), ["OCSP response received", "certificate is revoked"]);
  responder.respond = () => signResponse(authority, "site", { status: "revoked" });
  await pass(13 * HOUR);
  assert.deepEqual([stapling.describe(site).state, posted.at(-1)], ["revoked", null]);
  assert.ok(lines.includes("certificate is revoked"));
});

test("responses that cannot be verified are not stapled", async (t) => {
  const { stapling, responder, lines, posted } = start(t);
  const site = certificate("site");
  responder.respond = () => Buffer.from("garbage");
  await stapling.prepare([site]);
  assert.equal(stapling.describe(site).state, "failed");
  assert.match(lines.join(), /must-staple .* not an OCSP response: malformed DER/);
  assert.deepEqual([posted, stapling.counts.invalid], [[], 1]);
});

test("the response of a removed certificate is dropped, that of a kept one not fetched again", async (t) => {
  const { stapling, responder, posted } = start(t);
  const site = certificate("site");
  await stapling.prepare([site]);
  stapling.take([site]);
  await stapling.prepare([site]);
  stapling.take([site]);
  assert.equal(responder.requests, 1);
  assert.equal(stapling.staples().length, 1);
  stapling.take([]);
  assert.deepEqual([stapling.staples(), posted.at(-1)], [[], null]);
});

test("a new version waits five seconds for the responder of a must-staple certificate, and not for others", async (t) => {
  const { stapling, responder, pass } = start(t);
  const never = new Promise<never>(() => {});
  responder.respond = () => never as never;
  await stapling.prepare([certificate("gone")]);
  let isDone = false;
  const done = stapling.prepare([certificate("site")]).then(() => (isDone = true));
  await pass(4999);
  assert.equal(isDone, false);
  await pass(1);
  await done;
  assert.equal(stapling.describe(certificate("site")).state, "pending");
});

test("a response of a file is not fetched, and its expiry is logged", async (t) => {
  const { stapling, responder, lines, pass } = start(t);
  const site = certificate("site", signResponse(authority, "site"));
  await stapling.prepare([site]);
  stapling.take([site]);
  assert.equal(stapling.describe(site).state, "stapled");
  await pass(30 * HOUR);
  assert.equal(stapling.describe(site).state, "failed");
  assert.match(lines.join(), /must-staple certificate has no valid OCSP response the response expired at/);
  assert.deepEqual([responder.requests, stapling.counts.good], [0, 0]);
});

test("a responder gets at most eight requests at one time, and delays no other", async (t) => {
  const { stapling, responder } = start(t);
  const [dead, alive] = [certificate("site"), certificate("gone")];
  const waiting: ((error: Error) => void)[] = [];
  responder.respond = (() => new Promise((_, reject) => waiting.push(reject))) as never;
  const many = Array.from({ length: 20 }, (_, index) => {
    const source = { ...dead.ocsp.source!, id: String(index), mustStaple: false };
    return { ...dead, ocsp: { ...dead.ocsp, source, mustStaple: false } };
  });
  await stapling.prepare(many);
  await stapling.prepare([alive]);
  assert.equal(responder.requests, 9);
  for (const requests of [10, 11]) {
    waiting.shift()!(new Error("gone"));
    for (let i = 0; i < 10; i++) await Promise.resolve();
    assert.equal(responder.requests, requests);
  }
});

test("an older response does not replace a revocation", async (t) => {
  const { stapling, responder, posted, pass } = start(t);
  const site = certificate("site");
  responder.respond = () => signResponse(authority, "site", { status: "revoked" });
  await stapling.prepare([site]);
  stapling.take([site]);
  const revokedAt = Date.now();
  assert.equal(stapling.describe(site).state, "revoked");
  responder.respond = () => signResponse(authority, "site", { thisUpdate: revokedAt - HOUR });
  await pass(20 * HOUR);
  assert.equal(stapling.describe(site).state, "revoked");
  assert.match(stapling.describe(site).problem, /^revoked at 2025/);
  assert.ok(stapling.counts.invalid > 0);
  assert.deepEqual(posted, [null]);
});

test("an attempt for a certificate that was removed meanwhile is not repeated", async (t) => {
  const { stapling, responder, pass } = start(t);
  const site = certificate("gone");
  const waiting: ((error: Error) => void)[] = [];
  responder.respond = (() => new Promise((_, reject) => waiting.push(reject))) as never;
  await stapling.prepare([site]);
  stapling.take([site]);
  stapling.take([]);
  await stapling.prepare([site]);
  stapling.take([site]);
  for (const reject of waiting) reject(new Error("gone"));
  responder.respond = fail;
  await pass(1);
  await pass(5000);
  assert.equal(responder.requests, 3);
});
