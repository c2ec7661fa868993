/** Certificates from an ACME server: pebble validates names and issues certificates, and other clients verify them. */
import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Pebble } from "../support/pebble.ts";
import { findFreePort } from "./free-port.ts";
import { exchange, startUpstream } from "./peers.ts";
import { atEnd, type LiveTest, type Program, runSluice, startSluice, testInUsualMode, until } from "./program.ts";
import { curl, handshake } from "./tls.ts";

/** A directory that outlives a program. */
function makeStorage(t: LiveTest): string {
  const parent = mkdtempSync(join(tmpdir(), "sluice-acme-"));
  atEnd(t, () => rmSync(parent, { recursive: true, force: true }));
  return join(parent, "acme");
}

type Site = { readonly pebble: Pebble; readonly http: number; readonly tls: number; readonly root: string };

/** Pebble, which connects to the ports `http` and `tls` to validate these names. */
async function startSite(t: LiveTest, names: readonly string[], validity?: number): Promise<Site> {
  const ports: number[] = [];
  while (ports.length < 4) ports.push(await findFreePort());
  const [http, tls, port, managementPort] = ports as [number, number, number, number];
  const pebble = new Pebble({ httpPort: http, tlsPort: tls, port, managementPort, ...(validity && { validity }) });
  atEnd(t, () => pebble.close());
  await pebble.start();
  for (const name of names) pebble.dns.zone.addresses.set(name, ["127.0.0.1"]);
  const root = pebble.authority.path("root.pem");
  writeFileSync(root, await pebble.root());
  return { pebble, http, tls, root };
}

const issued = (sluice: Program, count: number, ms = 30_000) =>
  until(
    async () => (await sluice.metric("sluice_acme_orders_total", { result: "issued" })) === count,
    `${count} certificates are issued: ${sluice.output}`,
    ms,
  );

/** The certificate that a handshake shows, verified by OpenSSL; null: the handshake failed. */
async function served({ tls, root }: Site, host: string): Promise<X509Certificate | null> {
  const { out } = await handshake({ port: tls, ca: root, host });
  const [pem] = /-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/.exec(out) ?? [];
  if (pem === undefined) return null;
  assert.match(out, /Verify return code: 0 \(ok\)/);
  return new X509Certificate(pem);
}

type Managed = Record<string, unknown> & { names: string[]; nextTry: string | null; problem: string };
const managed = async (sluice: Program) => (await sluice.status()).managedCertificates as Managed[];

testInUsualMode("names are validated by HTTP-01, apart from plugins and routes, on each worker", async (t) => {
  const upstream = await startUpstream(t);
  const names = ["a.example", "www.a.example", "b.example", "limited.example"];
  const site = await startSite(t, names);
  const { pebble, http, tls, root } = site;
  const storage = makeStorage(t);
  pebble.intercept = ({ payload }, response) => {
    if (payload === null || !JSON.stringify(payload.identifiers ?? []).includes("limited.example")) return false;
    const problem = { type: "urn:ietf:params:acme:error:rateLimited", detail: "too many\ncertificates" };
    response.writeHead(429, { "retry-after": "7200", "content-type": "application/problem+json" });
    response.end(JSON.stringify(problem));
    return true;
  };
  const config = `
acme: { email: ops@a.example, directory: "${pebble.directory}", ca: ${pebble.ca}, storage: ${storage}, challenges: [http-01] }
listeners:
  plain:
    address: "127.0.0.1:${http}"
    chain: [redirect: { https: true }]
  web:
    address: "127.0.0.1:${tls}"
    cluster: app
    tls:
      acme: [a.example, www.a.example]
      certificates: [{ acme: [b.example] }, { acme: [limited.example] }]
clusters:
  app: ["127.0.0.1:${upstream.port}"]
`;
  const first = await startSluice(t, config, { workers: 2 });
  await issued(first, 2);
  for (const name of ["a.example", "www.a.example", "b.example"]) {
    const certificate = await served(site, name);
    assert.equal(certificate?.checkHost(name), name);
    assert.equal((await curl("/", { port: tls, ca: root, host: name })).code, 0);
  }
  // The plugin redirects all other requests, those with the path of a challenge that is not pending as well.
  const plain = await exchange(t, http, "GET /.well-known/acme-challenge/x HTTP/1.1\r\nhost: a.example\r\n\r\n");
  assert.equal(plain.status, 302);

  // A name without a certificate yet: a clear alert, counted, logged and shown.
  const { out } = await handshake({ port: tls, ca: root, host: "limited.example" });
  assert.match(out, /alert internal error/);
  await first.metricIs(1, "sluice_tls_handshakes_total", { result: "no_certificate" });
  await first.metricIs(1, "sluice_acme_orders_total", { result: "rate_limited" });
  const { cause, failures } = await first.logged(({ event }) => event === "acme_failed", "the failure");
  assert.deepEqual([cause, failures], ["the server returned status 429: rateLimited: too many certificates", 1]);
  const limited = (await managed(first)).find((one) => one.names[0] === "limited.example")!;
  assert.ok(Date.parse(limited.nextTry!) > Date.now() + 7_000_000);
  const { stdout } = await runSluice("status", "-c", join(first.directory, "sluice.yaml"));
  assert.match(
    stdout,
    /^problem: ACME certificate for limited\.example: failing, not issued yet, next order at .* \(1 failure\): the server returned status 429/m,
  );
  assert.match(stdout, /^ACME certificate for a\.example, www\.a\.example: valid, expires at /m);
  assert.match(stdout, /^ {2}certificate .*\/a\.example-.*\.pem \(a\.example, www\.a\.example\): expires in 89 days/m);

  // Keys are on disk only, for the owner only.
  const files = readdirSync(storage, { recursive: true, withFileTypes: true });
  assert.ok(files.some((file) => file.name === "account.json"));
  for (const file of files) {
    const mode = statSync(join(file.parentPath, file.name)).mode & 0o777;
    assert.equal(mode, file.isDirectory() ? 0o700 : 0o600, file.name);
    assert.doesNotMatch(file.name, /tmp/);
  }
  assert.doesNotMatch(first.output + (await first.ask("/api/v1/status")).text, /PRIVATE KEY/);
  await first.stop();

  // After a restart all is as it was, without the server: certificates are served, and the limit is respected.
  const count = pebble.requests.length;
  await pebble.stopServer();
  const second = await startSluice(t, config, { workers: 2 });
  assert.equal((await served(site, "a.example"))?.checkHost("www.a.example"), "www.a.example");
  assert.equal((await managed(second)).find((one) => one.names[0] === "limited.example")!.nextTry, limited.nextTry);
  assert.equal(pebble.requests.length, count);
});
