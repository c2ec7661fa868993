/** Certificates, keys and authorities are checked when a configuration is loaded. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { test } from "node:test";
import { loadConfig } from "../../../src/config/load.ts";
import { makeRequest } from "../../../src/net/ocsp/request.ts";
import { readTlsFiles } from "../../../src/plan/tls-files.ts";
import { Authority } from "../../support/certificates.ts";
import { issuedBy, MUST_STAPLE, respond, withResponder, writeIndex } from "../../support/ocsp.ts";

const authority = new Authority();
test.after(() => authority.remove());
authority.issue("a", { names: "DNS:a.example,DNS:*.A.example" });
authority.issue("b", { names: "DNS:b.example", key: "rsa" });
authority.issue("locked", { passphrase: "secret" });
authority.issue("old", { days: -1 });

async function check(tls: string, now?: number) {
  const text = `listeners: { web: { address: ":1", cluster: app, tls: ${tls} } }\nclusters: { app: ["127.0.0.1:1"] }`;
  const { config, problems } = loadConfig(text, { file: authority.path("sluice.yaml"), env: {} });
  assert.deepEqual(problems, []);
  const found = await readTlsFiles(config!, now);
  const show = (all: readonly { path: string; message: string }[]) =>
    all.map(({ path, message }) => `${path}: ${message.replaceAll(`${authority.directory}/`, "")}`);
  return { ...found, problems: show(found.problems), warnings: show(found.warnings) };
}
const pair = (cert: string, key = cert, more = "") =>
  `{ certificates: [{ cert: ${cert}.pem, key: ${key}.key }]${more} }`;
const AT = "listeners.web.tls.certificates.0";

test("a valid pair has the names of its certificate", async () => {
  const { servers, certificates, problems, warnings } = await check(pair("a"));
  assert.deepEqual([problems, warnings], [[], []]);
  assert.deepEqual(servers.get("web")!.certificates[0]!.names, ["a.example", "*.a.example"]);
  assert.ok(certificates[0]!.expires > Date.now());
});

test("problems name the file and the certificate that a key belongs to", async () => {
  assert.deepEqual((await check(pair("a", "b"))).problems, [
    `${AT}.key: b.key is not the key of the certificate in a.pem`,
  ]);
  const swapped = await check("{ certificates: [{ cert: a.pem, key: b.key }, { cert: b.pem, key: a.key }] }");
  assert.deepEqual(swapped.problems, [
    `${AT}.key: b.key is not the key of the certificate in a.pem, but of the one in b.pem`,
    "listeners.web.tls.certificates.1.key: a.key is not the key of the certificate in b.pem, but of the one in a.pem",
  ]);
  assert.deepEqual((await check(pair("none"))).problems, [
    `${AT}.cert: there is no file none.pem`,
    `${AT}.key: there is no file none.key`,
  ]);
  assert.deepEqual((await check(pair("locked"))).problems, [
    `${AT}.key: the key in locked.key is encrypted, expected "passphrase"`,
  ]);
  const wrong = await check("{ certificates: [{ cert: locked.pem, key: locked.key, passphrase: wrong }] }");
  assert.deepEqual(wrong.problems, [`${AT}.key: the passphrase does not decrypt the key in locked.key`]);
  const right = await check("{ certificates: [{ cert: locked.pem, key: locked.key, passphrase: secret }] }");
  assert.deepEqual(right.problems, []);
});

test("files that are incomplete or have other contents", async () => {
  const whole = authority.read("a.pem");
  writeFileSync(authority.path("half.pem"), whole.slice(0, whole.length / 2));
  writeFileSync(authority.path("broken.pem"), whole.replace(/\n.{20}/, "\n????????????????????"));
  const cert = async (name: string) => (await check(pair(name, "a"))).problems;
  assert.deepEqual(await cert("half"), [`${AT}.cert: half.pem contains no certificate in PEM format`]);
  assert.deepEqual(await cert("broken"), [`${AT}.cert: the certificate 1 of 1 in broken.pem cannot be read`]);
  const exchanged = await check("{ certificates: [{ cert: a.key, key: a.pem }] }");
  assert.deepEqual(exchanged.problems, [
    `${AT}.cert: a.key contains a private key and no certificate in PEM format`,
    `${AT}.key: a.pem contains a certificate and no private key in PEM format`,
  ]);
  writeFileSync(authority.path("empty.key"), "");
  assert.deepEqual((await check(pair("a", "empty"))).problems, [
    `${AT}.key: empty.key contains no private key in PEM format`,
  ]);
  const other = await check(pair("a", "a", ", clientCertificates: { ca: a.key, crl: a.pem }"));
  assert.equal(
    other.problems[0],
    "listeners.web.tls.clientCertificates.ca: a.key contains a private key and no certificate in PEM format",
  );
  assert.match(other.problems[1]!, /^listeners.web.tls.clientCertificates.crl: a.pem contains no revocation list/);
  assert.deepEqual((await check(pair("a", "a", ", ciphers: [TLS_AES_128_GCM_SHA256, TLS_NONE]"))).problems, [
    'listeners.web.tls.ciphers.1: unknown cipher "TLS_NONE"',
  ]);
});

test("an empty list of certificates is reported once, by the configuration", async () => {
  const text =
    'listeners: { web: { address: ":1", cluster: app, tls: { certificates: [] } } }\nclusters: { app: ["127.0.0.1:1"] }';
  const { readable, problems } = loadConfig(text, { file: authority.path("sluice.yaml"), env: {} });
  assert.deepEqual(
    problems.map(({ message }) => message),
    ["the list of certificates is empty, expected one"],
  );
  assert.deepEqual((await readTlsFiles(readable!)).problems, []);
});

test("a probable mistake is a warning", async () => {
  assert.match((await check(pair("old"))).warnings[0]!, /certificates.0.cert: the certificate in old.pem expired on /);
  assert.match((await check(pair("a"), 0)).warnings[0]!, /a.pem is not valid before/);
  const twice = await check("{ certificates: [{ cert: a.pem, key: a.key }, { cert: a.pem, key: a.key }] }");
  assert.match(twice.warnings[0]!, /certificates.1: never used/);
  writeFileSync(authority.path("mixed.pem"), authority.read("a.pem") + authority.read("b.pem"));
  assert.match((await check(pair("mixed", "a"))).warnings[0]!, /mixed.pem are not a chain: number 2 is not the issuer/);
});

test("a revocation list that rejects all certificates is a warning", async () => {
  const other = new Authority(authority.directory, "other");
  for (const [one, name] of [
    [authority, "ca"],
    [other, "other"],
  ] as const) {
    one.issue(`${name}-client`);
    one.revoke(`${name}-client`, `${name}.crl`);
  }
  writeFileSync(authority.path("both.crl"), authority.read("ca.crl") + authority.read("other.crl"));
  const broken = authority.read("ca.crl").replace(/\n.{20}/, "\n????????????????????");
  writeFileSync(authority.path("broken.crl"), authority.read("other.crl") + broken);
  const at = "listeners.web.tls.clientCertificates.crl";
  const checkLists = (crl: string, now?: number) =>
    check(pair("a", "a", `, clientCertificates: { ca: [ca.pem, other.pem], crl: ${crl} }`), now);
  const both = await checkLists("both.crl");
  assert.deepEqual([both.problems, both.warnings], [[], []]);
  const [list, second] = both.revocationLists;
  const file = authority.path("both.crl");
  assert.deepEqual([list!.usedBy, list!.file, second!.file], ["listener web", file, file]);
  assert.ok(Math.abs(list!.expires - Date.now() - 30 * 86_400_000) < 3_600_000);
  // OpenSSL reads one list of each text.
  assert.equal(both.servers.get("web")!.clients!.crl.length, 2);
  assert.deepEqual((await checkLists("[ca.crl, other.crl]")).warnings, []);
  const missing = `${at}: no list is of the authority CN=other: all its certificates are rejected`;
  assert.deepEqual((await checkLists("ca.crl")).warnings, [missing]);
  const late = (await checkLists("[both.crl]", Date.now() + 40 * 86_400_000)).warnings;
  for (const number of [1, 2])
    assert.match(
      late.join("\n"),
      new RegExp(
        `the revocation list ${number} of 2 in both.crl expired at 20.*Z: all certificates of its authority are`,
      ),
    );
  assert.match(late.join("\n"), /clientCertificates.ca.*: the certificate in other.pem expired on /);
  assert.match((await checkLists("both.crl", 0)).warnings.join(), /list 1 of 2 in both.crl is not valid before 20/);
  assert.deepEqual((await checkLists("broken.crl")).problems, [
    `${at}: the revocation list 2 of 2 in broken.crl cannot be read`,
  ]);
});

test("a certificate without an OCSP response that needs one is reported", async () => {
  const issue = (name: string, ...extensions: string[]) => {
    authority.issue(name, { extensions });
    writeFileSync(authority.path(`${name}.pem`), authority.read(`${name}.pem`) + authority.read("ca.pem"));
  };
  const url = "http://ocsp.example/";
  issue("must", ...withResponder(url, MUST_STAPLE));
  issue("silent", MUST_STAPLE);
  issue("ldap", ...withResponder("ldap://ocsp.example/", MUST_STAPLE));
  authority.issue("alone", { extensions: withResponder(url) });
  const warningsOf = async (name: string, more = "") => (await check(pair(name, name, more))).warnings;
  const must = await check(pair("must"));
  const { source, mustStaple } = must.certificates[0]!.ocsp;
  assert.deepEqual([must.warnings, mustStaple, source?.from], [[], true, url]);
  assert.equal(must.servers.get("web")!.certificates[0]!.staple, source?.id);
  const text = (name: string, problem: string, rule = "") =>
    `${AT}.cert: no OCSP response for the certificate in ${name}.pem${rule}: ${problem}`;
  const rule = " (must-staple: clients reject it)";
  assert.deepEqual(await warningsOf("must", ", ocsp: off"), [text("must", "`ocsp` is off", rule)]);
  assert.deepEqual(await warningsOf("silent"), [text("silent", "it names no OCSP responder", rule)]);
  assert.deepEqual(await warningsOf("ldap"), [
    text("ldap", "its responder ldap://ocsp.example/ is not an http or https URL", rule),
  ]);
  assert.deepEqual(await warningsOf("alone"), [text("alone", "the file has no certificate of its issuer")]);
  assert.deepEqual(await warningsOf("alone", ", ocsp: off"), []);
});

test("the file of an OCSP response is verified", async () => {
  authority.issue("filed");
  authority.issue("other");
  writeFileSync(authority.path("filed.pem"), authority.read("filed.pem") + authority.read("ca.pem"));
  const responseFor = (name: string, status: "good" | "revoked" = "good") => {
    writeIndex(authority, { [name]: status });
    writeFileSync(authority.path("filed.ocsp"), respond(authority, makeRequest(issuedBy(authority, name))));
  };
  const filed = (now?: number) =>
    check("{ certificates: [{ cert: filed.pem, key: filed.key, ocspFile: filed.ocsp }] }", now);
  assert.match((await filed()).problems.join(), /ocspFile: there is no file filed.ocsp/);
  responseFor("filed");
  const { warnings, certificates, servers } = await filed();
  assert.deepEqual([warnings, certificates[0]!.ocsp.source?.from], [[], authority.path("filed.ocsp")]);
  const key = servers.get("web")!.key;
  assert.match(
    (await filed(Date.now() + 2 * 86_400_000)).warnings.join(),
    /filed.ocsp is not stapled: the response expired/,
  );
  responseFor("filed", "revoked");
  const revoked = await filed();
  assert.match(revoked.warnings.join(), /filed.ocsp is not stapled: the certificate is revoked/);
  assert.notEqual(revoked.servers.get("web")!.key, key);
  responseFor("other");
  assert.match((await filed()).warnings.join(), /ocspFile: filed.ocsp is not stapled: the response is about another/);
});
