/** OCSP stapling with the responder and the client of OpenSSL. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { join } from "node:path";
import { test } from "node:test";
import { makeRequest } from "../../src/net/ocsp/request.ts";
import { Authority } from "../support/certificates.ts";
import { issuedBy, MUST_STAPLE, respond, withResponder, writeIndex } from "../support/ocsp.ts";
import { findFreePort } from "./free-port.ts";
import { startUpstream } from "./peers.ts";
import { atEnd, bounded, type LiveTest, runSluice, startSluice, testInEachMode, until } from "./program.ts";
import { handshake, subjectOf } from "./tls.ts";

const authority = new Authority();
test.after(() => authority.remove());
const ca = authority.path("ca.pem");
const responder = await findFreePort();
const url = `http://127.0.0.1:${responder}`;
authority.issue("site", { names: "DNS:site.example", extensions: withResponder(url, MUST_STAPLE) });
authority.issue("gone", { names: "DNS:gone.example", extensions: withResponder(`${url}/`), key: "rsa" });
authority.issue("bare", { names: "DNS:bare.example", extensions: withResponder(url) });
for (const [name, key] of [
  ["both-ec", "ec"],
  ["both-rsa", "rsa"],
] as const)
  authority.issue(name, { names: "DNS:both.example", extensions: withResponder(url, MUST_STAPLE), key });
authority.issue("filed", { names: "DNS:filed.example" });
authority.issue("late", { names: "DNS:bare.example", extensions: withResponder(url, MUST_STAPLE) });
authority.issue("delegate", { key: "rsa", extensions: ["extendedKeyUsage=OCSPSigning"] });
writeIndex(authority, {
  site: "good",
  gone: "revoked",
  bare: "good",
  "both-ec": "good",
  "both-rsa": "good",
  late: "good",
});

/** `openssl ocsp` as the responder; the returned function stops it. */
async function startResponder(t: LiveTest, signer: string): Promise<() => Promise<void>> {
  const file = (name: string) => authority.path(name);
  const signing = ["-rsigner", file(`${signer}.pem`), "-rkey", file(`${signer}.key`), "-ndays", "1"];
  const args = ["ocsp", "-port", String(responder), "-index", file("ocsp.txt"), "-CA", ca, ...signing];
  const child = spawn("openssl", args, { stdio: ["ignore", "ignore", "pipe"] });
  const exited = once(child, "exit");
  const stop = async () => {
    child.kill("SIGKILL");
    await exited;
  };
  atEnd(t, stop);
  let output = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => (output += text));
  await until(() => output.includes("waiting for OCSP client connections"), `the responder to listen: ${output}`);
  return () => bounded(stop(), "the responder to end");
}

const serialOf = (name: string) => new X509Certificate(authority.read(`${name}.pem`)).serialNumber;

/** The status of the stapled response by OpenSSL's client. */
async function stapled(port: number, host: string, ...more: string[]): Promise<string> {
  const { out } = await handshake({ port, ca, host, more: ["-status", ...more] });
  if (out.includes("OCSP response: no response sent")) return "none";
  assert.match(out, /OCSP Response Status: successful/, out);
  return /Cert Status: (\w+)/.exec(out)?.[1] ?? out;
}

testInEachMode("responses are stapled, also while the responder is down", async (t) => {
  const upstream = await startUpstream(t);
  const stopResponder = await startResponder(t, t.accept === "handle" ? "ca" : "delegate");
  const file = (status: "good" | "revoked") => {
    writeIndex(authority, { filed: status }, "filed.txt");
    return respond(authority, makeRequest(issuedBy(authority, "filed")), { index: "filed.txt" });
  };
  const files = Object.fromEntries(
    ["site", "gone", "bare", "both-ec", "both-rsa", "filed"].flatMap((name) => [
      [`${name}.pem`, authority.read(`${name}.pem`) + (name === "bare" ? "" : authority.read("ca.pem"))],
      [`${name}.key`, authority.read(`${name}.key`)],
    ]),
  );
  const sluice = await startSluice(
    t,
    ({ web }) => `
listeners:
  web:
    address: "127.0.0.1:${web}"
    cluster: app
    tls:
      certificates:
        - { cert: site.pem, key: site.key }
        - { cert: gone.pem, key: gone.key }
        - { cert: bare.pem, key: bare.key }
        - { cert: filed.pem, key: filed.key, ocspFile: filed.ocsp }
        - { cert: both-rsa.pem, key: both-rsa.key }
        - { cert: both-ec.pem, key: both-ec.key }
clusters:
  app: ["127.0.0.1:${upstream.port}"]
`,
    {
      workers: 2,
      files: { ...files, "filed.ocsp": file("good") },
      preload: new URL("./failing-worker.ts", import.meta.url),
    },
  );
  const { port } = sluice;
  // The start waits for the response of a must-staple certificate.
  assert.equal(await stapled(port, "site.example"), "good");
  assert.equal(await stapled(port, "site.example", "-tls1_2"), "good");
  await sluice.logged((line) => line.msg === "certificate is revoked" && /gone\.pem/.test(String(line.file)), "it");
  assert.equal(await stapled(port, "gone.example"), "none");
  for (const [type, ...more] of [["both-ec"], ["both-rsa", "-sigalgs", "rsa_pss_rsae_sha256"]] as const) {
    const { out } = await handshake({ port, ca, host: "both.example", more: ["-status", ...more] });
    assert.match(out, new RegExp(`^subject=CN = ${type}$`, "m"));
    assert.match(out, new RegExp(`Serial Number: ${serialOf(type)}\\n *Cert Status: good`), out);
  }
  for (const offer of [
    [],
    ["-sigalgs", "RSA-PSS+SHA256:RSA+SHA512"],
    ["-sigalgs", "ECDSA+SHA512"],
    ["-cipher", "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES256-GCM-SHA384"],
    ["-cipher", "ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384"],
    ["-cipher", "ECDHE-RSA-CHACHA20-POLY1305"],
    ["-groups", "P-384:X25519"],
  ]) {
    const more = ["-tls1_2", ...offer];
    const { out } = await handshake({ port, ca, host: "both.example", more: ["-status", ...more] });
    const chosen = subjectOf(await handshake({ port, ca, host: "both.example", more }));
    assert.equal(subjectOf({ out }), chosen, `not the certificate that OpenSSL chooses for ${offer}`);
    assert.match(out, new RegExp(`Serial Number: ${serialOf(chosen)}\\n *Cert Status: good`), out);
  }
  const mixed = ["-tls1_2", "-cipher", "ECDHE-RSA-AES256-SHA384:ECDHE-RSA-AES128-GCM-SHA256"];
  assert.equal(await stapled(port, "both.example", ...mixed), "good");
  assert.equal(await stapled(port, "bare.example"), "none");
  const isWarning = ({ warning }: Record<string, unknown>) =>
    /bare.pem: the file has no certificate of its issuer/.test(String(warning));
  await sluice.logged(isWarning, "the warning of the missing issuer");
  const expiry = await sluice.metric("sluice_tls_ocsp_expiry_seconds", {
    listener: "web",
    file: join(sluice.directory, "site.pem"),
  });
  assert.ok(Math.abs(expiry - Date.now() / 1000 - 86_400) < 3600);
  assert.equal(await sluice.metric("sluice_tls_ocsp_fetches_total", { result: "good" }), 3);

  assert.equal(await stapled(port, "filed.example"), "good");
  sluice.write("filed.ocsp", file("revoked"));
  await until(async () => (await stapled(port, "filed.example")) === "none", "the watched file is taken");

  const status = ["status", "-c", join(sluice.directory, "sluice.yaml")];
  const { stdout } = await runSluice(...status);
  assert.match(stdout, /^degraded/);
  assert.match(stdout, /^problem: listener web: certificate .*gone\.pem: OCSP: revoked at 2025-01-01T/m);
  assert.match(stdout, /^ {2}certificate .*site\.pem \(site\.example\): .*; OCSP response until /m);
  await stopResponder();
  sluice.config(`${sluice.configText}  other: ["127.0.0.1:${upstream.port}"]\n`);
  assert.equal((await sluice.reload()).status, 200);
  for (let i = 0; i < 4; i++) assert.equal(await stapled(port, "site.example"), "good");

  // The replacement of a crashed worker has the responses, although the responder is down.
  sluice.kill("SIGUSR2");
  await sluice.metricIs(1, "sluice_worker_restarts_total", { worker: "0", reason: "crash" });
  await until(async () => /^2 of 2 workers serve/m.test((await runSluice(...status)).stdout), "it serves");
  for (let i = 0; i < 12; i++) assert.equal(await stapled(port, "site.example"), "good");

  if (t.accept !== "handle") return; // The rest does not depend on the mode.
  // A new must-staple certificate is served without a response, which is reported, and gets one later.
  sluice.write("bare.key", authority.read("late.key"));
  sluice.write("bare.pem", authority.read("late.pem") + authority.read("ca.pem"));
  const missing = await sluice.logged(({ event }) => event === "ocsp_must_staple", "the missing response");
  assert.match(String(missing.cause), /ECONNREFUSED/);
  await until(async () => subjectOf(await handshake({ port, ca, host: "bare.example" })) === "late", "it is served");
  assert.equal(await stapled(port, "bare.example"), "none");
  await startResponder(t, "ca");
  await until(async () => (await stapled(port, "bare.example")) === "good", "the response is fetched");
});
