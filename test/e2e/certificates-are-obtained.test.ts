/** Certificates from an ACME server: pebble validates names and issues certificates, and other clients verify them. */
import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import type { ServerResponse } from "node:http";
import { Agent, request } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { compileSource } from "../contract/plugin-harness.ts";
import { Pebble, type PebbleOptions } from "../support/pebble.ts";
import { findFreePort } from "./free-port.ts";
import { exchange, startUpstream } from "./peers.ts";
import {
  atEnd,
  bounded,
  type LiveTest,
  type Program,
  runSluice,
  startSluice,
  testInEachMode,
  testInUsualMode,
  until,
} from "./program.ts";
import { curl, handshake } from "./tls.ts";

/** A directory that outlives a program. */
function makeStorage(t: LiveTest): string {
  const parent = mkdtempSync(join(tmpdir(), "sluice-acme-"));
  atEnd(t, () => rmSync(parent, { recursive: true, force: true }));
  return join(parent, "acme");
}

type Site = { readonly pebble: Pebble; readonly http: number; readonly tls: number; readonly root: string };

/** Pebble, which connects to the ports `http` and `tls` to validate these names. */
async function startSite(
  t: LiveTest,
  names: readonly string[],
  more: Pick<PebbleOptions, "externalKeys"> = {},
): Promise<Site> {
  const ports: number[] = [];
  while (ports.length < 4) ports.push(await findFreePort());
  const [http, tls, port, managementPort] = ports as [number, number, number, number];
  const pebble = new Pebble({ httpPort: http, tlsPort: tls, port, managementPort, ...more });
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

/** The same once all workers have a certificate other than `old`: they get it by a message after it was counted. */
async function servedByAll(site: Site, host: string, old?: X509Certificate): Promise<X509Certificate> {
  let found: X509Certificate | null = null;
  const isNew = async () => {
    found = await served(site, host);
    return found !== null && found.serialNumber !== old?.serialNumber;
  };
  await until(async () => {
    for (let i = 0; i < 4; i++) if (!(await isNew())) return false;
    return true;
  }, `a new certificate of ${host} is served`);
  return found!;
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
    const certificate = await servedByAll(site, name);
    assert.equal(certificate.checkHost(name), name);
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

/** Responds to requests for renewal information, at the front. */
const renewalInfo = (start: number, end: number) => (response: ServerResponse) => {
  const time = (at: number) => new Date(at).toISOString();
  response.writeHead(200, { "content-type": "application/json", "retry-after": "21600" });
  response.end(JSON.stringify({ suggestedWindow: { start: time(start), end: time(end) } }));
};

testInEachMode("names are validated by TLS-ALPN-01, and certificates renewed in service", async (t) => {
  const upstream = await startUpstream(t);
  const site = await startSite(t, ["a.example"]);
  const { pebble, tls, root } = site;
  const suggested = Promise.withResolvers<(response: ServerResponse) => void>();
  const asked: string[] = [];
  pebble.directoryMore = { renewalInfo: pebble.directory.replace("/dir", "/renewal") };
  pebble.intercept = async ({ path }, response) => {
    if (!path.startsWith("/renewal/")) return false;
    asked.push(path.slice("/renewal/".length));
    (await suggested.promise)(response);
    return true;
  };
  const sluice = await startSluice(
    t,
    `
acme: { directory: "${pebble.directory}", ca: ${pebble.ca} }
listeners:
  web:
    address: "127.0.0.1:${tls}"
    cluster: app
    tls:
      acme: [a.example]
      clientCertificates: { mode: optional, ca: ${pebble.ca} }
clusters:
  app: ["127.0.0.1:${upstream.port}"]
`,
    { workers: 2 },
  );
  await issued(sluice, 1);
  const first = await servedByAll(site, "a.example");
  assert.equal(first?.checkHost("a.example"), "a.example");
  // Without a pending challenge its protocol is refused.
  const { out } = await handshake({ port: tls, ca: root, host: "a.example", more: ["-alpn", "acme-tls/1"] });
  assert.match(out, /alert no application protocol/);
  if (t.accept !== "handle") return; // The rest does not depend on the mode.

  const agent = new Agent({ keepAlive: true, maxSockets: 1, ca: readFileSync(root) });
  atEnd(t, () => agent.destroy());
  const sockets = new Set<unknown>();
  const get = async () => {
    const sent = request({ host: "127.0.0.1", port: tls, servername: "a.example", agent }).end();
    const [response] = await bounded(once(sent, "response"), "a response");
    sockets.add(response.socket);
    return (await response.toArray()).join("");
  };
  assert.equal(await get(), "ok");

  // The server suggests to renew at once, and is down: the certificate stays.
  await until(() => asked.length === 1, "renewal information is read");
  await pebble.stopServer();
  suggested.resolve(renewalInfo(Date.now() - 2000, Date.now() - 1000));
  await sluice.metricIs(1, "sluice_acme_orders_total", { result: "unreachable" });
  assert.equal((await served(site, "a.example"))?.serialNumber, first.serialNumber);
  const { stdout } = await runSluice("status", "-c", join(sluice.directory, "sluice.yaml"));
  assert.match(stdout, /^ready/);
  assert.match(stdout, /^warning: ACME certificate for a\.example: failing, expires at .* \(1 failure\): /m);

  // It is back, and has forgotten the account: the certificate is replaced, the connection stays.
  const window = [Date.now() + 40 * 86_400_000, Date.now() + 41 * 86_400_000] as const;
  const replaced: unknown[] = [];
  pebble.intercept = ({ path, payload }, response) => {
    if (path.startsWith("/renewal/")) renewalInfo(...window)(response);
    else if (payload?.replaces === undefined) return false;
    else {
      // An order without it is made then.
      replaced.push(payload.replaces);
      response.writeHead(409).end(JSON.stringify({ type: "urn:ietf:params:acme:error:alreadyReplaced" }));
    }
    return true;
  };
  await pebble.startServer();
  writeFileSync(root, await pebble.root());
  await issued(sluice, 2);
  await servedByAll(site, "a.example", first);
  assert.equal(await get(), "ok");
  assert.equal(sockets.size, 1);
  assert.deepEqual(new Set(replaced), new Set([asked[0]]));
  assert.match(asked[0]!, /^[\w-]+\.[\w-]+$/);
  await until(async () => {
    const next = Date.parse((await managed(sluice))[0]!.nextTry!);
    return next >= window[0] && next <= window[1];
  }, "the renewal is in the suggested window");
});

testInUsualMode("an order continues after a crash, a reload and a stop", async (t) => {
  const upstream = await startUpstream(t);
  // It requires an external account, the key is of RSA, and plain HTTP comes to the port of TLS.
  const macKey = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
  const site = await startSite(t, ["a.example"], { externalKeys: { kid: macKey } });
  const { pebble, http } = site;
  let held = 0;
  let isHeld = true;
  pebble.intercept = ({ path }) => {
    if (!isHeld || !path.startsWith("/certZ/")) return false;
    held++;
    return true;
  };
  const config = `
acme: { directory: "${pebble.directory}", ca: ${pebble.ca}, storage: ${makeStorage(t)}, externalAccount: { keyId: kid, macKey: ${macKey} }, keyType: rsa2048, challenges: [http-01] }
listeners:
  web: { address: "127.0.0.1:${http}", protocol: auto, cluster: app, tls: { acme: [a.example] } }
clusters:
  app: ["127.0.0.1:${upstream.port}"]
`;
  const first = await startSluice(t, config);
  await until(() => held === 1, "the certificate is downloaded");
  first.kill("SIGKILL");
  await first.exited;
  const second = await startSluice(t, config);
  // A program that crashes and is started again must not order without a delay.
  const [{ problem, nextTry, isOrdering }] = (await managed(second)) as [Managed];
  assert.equal(problem, "the process ended during the attempt");
  assert.ok(Date.parse(nextTry!) > Date.now() && isOrdering === false);
  await until(() => held === 2, "the download is tried again");
  // A rejected version changes nothing, an accepted one leaves the order alone.
  const email = (text: string) => text.replace("acme: {", "acme: { email: ops@a.example,");
  second.config(
    email(config).replace("listeners:", `listeners:\n  used: { address: ":${upstream.port}", cluster: app }`),
  );
  assert.equal((await second.reload()).status, 422);
  second.config(`${config}  other: ["127.0.0.1:${upstream.port}"]\n`);
  assert.equal((await second.reload()).status, 200);
  assert.equal((await managed(second))[0]!.isOrdering, true);
  assert.equal(held, 2);
  // With another contact the order is continued.
  second.config(email(config));
  assert.equal((await second.reload()).status, 200);
  await until(() => held === 3, "the download is tried again");
  await second.stop();
  isHeld = false;
  const third = await startSluice(t, email(config));
  await issued(third, 1);
  const { publicKey } = await servedByAll({ ...site, tls: http }, "a.example");
  assert.deepEqual([publicKey.asymmetricKeyType, publicKey.asymmetricKeyDetails!.modulusLength], ["rsa", 2048]);
  assert.equal(pebble.orders.length, 1);
  assert.doesNotMatch((await third.ask("/api/v1/config")).text, new RegExp(macKey));
});

const DECIDES = `import { Query, Request } from "sluice/sdk";
export function onRequest(req: Request): void {
  const name = new Query(req.query).get("domain");
  req.respond(name !== null && name.startsWith("good") ? 200 : 404);
}`;

testInUsualMode("names get a certificate on demand, within limits and as a plugin of the proxy decides", async (t) => {
  const upstream = await startUpstream(t);
  const site = await startSite(t, ["good.shop.example", "good-too.shop.example"]);
  const { pebble, http, tls, root } = site;
  const config = `
acme:
  directory: "${pebble.directory}"
  ca: ${pebble.ca}
  storage: ${makeStorage(t)}
  onDemand: { names: ["*.shop.example"], ask: "http://127.0.0.1:${http}/allowed", rate: 600 }
plugins: { decides: { wasm: decides.wasm } }
listeners:
  plain: { address: "127.0.0.1:${http}", routes: [{ match: { path: /allowed }, chain: [decides], cluster: app }] }
  web: { address: "127.0.0.1:${tls}", cluster: app, tls: { onDemand: true } }
clusters:
  app: ["127.0.0.1:${upstream.port}"]
`;
  const options = { workers: 2, files: { "decides.wasm": await compileSource(DECIDES) } };
  const first = await startSluice(t, config, options);
  const good = await served(site, "good.shop.example");
  assert.equal(good?.checkHost("good.shop.example"), "good.shop.example");
  // All workers have it, and all handshakes that wait for one name get it.
  for (let i = 0; i < 4; i++) assert.equal((await served(site, "good.shop.example"))?.serialNumber, good!.serialNumber);
  const together = await Promise.all(Array.from({ length: 8 }, () => served(site, "good-too.shop.example.")));
  assert.equal(new Set(together.map((one) => one?.serialNumber)).size, 1);
  assert.ok(together[0]);

  // The others are refused: one request to `ask` for each name.
  for (const host of ["bad.shop.example", "other.example", "a.b.shop.example", "-x.shop.example"])
    for (let i = 0; i < 5; i++) {
      const { out } = await handshake({ port: tls, ca: root, host });
      assert.match(out, /unrecognized name/, host);
    }
  await first.metricIs(1, "sluice_acme_on_demand_requests_total", { result: "denied" });
  await first.metricIs(2, "sluice_acme_on_demand_requests_total", { result: "issued" });
  await first.metricIs(2, "sluice_acme_on_demand_certificates");
  const denied = await first.logged(({ event }) => event === "acme_on_demand", "the denial");
  assert.deepEqual([denied.name, denied.cause], ["bad.shop.example", "acme.onDemand.ask responded 404"]);
  assert.equal(pebble.orders.length, 2);
  assert.deepEqual((await managed(first)).map(({ names, onDemand, state }) => [names[0], onDemand, state]).sort(), [
    ["good-too.shop.example", true, "valid"],
    ["good.shop.example", true, "valid"],
  ]);
  const { text } = await first.ask("/metrics");
  assert.doesNotMatch(text, /shop\.example/);
  await first.stop();

  await startSluice(t, config, options);
  await pebble.stopServer();
  assert.equal((await served(site, "good.shop.example"))?.serialNumber, good!.serialNumber);
});
