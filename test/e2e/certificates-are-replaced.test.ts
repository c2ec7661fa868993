/** Certificates change while connections are open and requests run; a broken pair changes nothing. */
import assert from "node:assert/strict";
import { Agent } from "node:https";
import { test } from "node:test";
import type { Status } from "../../src/admin/api.ts";
import { Authority } from "../support/certificates.ts";
import { startUpstream } from "./peers.ts";
import { runSluice, startSluice, testInEachMode, until } from "./program.ts";
import { ask, handshake, subjectOf } from "./tls.ts";

const authority = new Authority();
for (const name of ["one", "two"]) authority.issue(name, { days: 10 });
test.after(() => authority.remove());
const ca = authority.path("ca.pem");

testInEachMode("new connections get the new certificate, and no request is lost", async (t) => {
  const upstream = await startUpstream(t);
  const sluice = await startSluice(
    t,
    ({ web }) => `
listeners:
  web: { address: "127.0.0.1:${web}", cluster: app, tls: { certificates: [{ cert: site.pem, key: site.key }] } }
clusters:
  app: ["127.0.0.1:${upstream.port}"]
`,
    { workers: 2, files: { "site.pem": authority.read("one.pem"), "site.key": authority.read("one.key") } },
  );
  const { port } = sluice;
  const subject = async () => subjectOf(await handshake({ port, ca }));
  assert.equal(await subject(), "one");
  await sluice.logged((line) => line.msg === "certificate expires soon" && line.listener === "web", "the warning");
  const expiry = await sluice.metric("sluice_tls_certificate_expiry_seconds", { listener: "web" });
  const { expiringCertificates } = (await sluice.status()) as Status;
  assert.deepEqual(
    expiringCertificates.map(({ listener, names, days, warning }) => [listener, names, days, warning]),
    [["web", ["localhost"], 9, "14 days"]],
  );
  const shown = await runSluice("status", "--admin", `127.0.0.1:${sluice.ports.admin}`);
  assert.match(
    shown.stdout,
    /^ready, .*\n.*\nwarning: listener web: certificate .*site\.pem \(localhost\): expires in 9 days/,
  );
  assert.ok(Math.abs(expiry - Date.now() / 1000 - 10 * 86_400) < 3600);

  const kept = new Agent({ keepAlive: true, maxSockets: 1 });
  let [stopped, count] = [false, 0];
  const load = (async () => {
    for (; !stopped; count++)
      for (const agent of [kept, false as const]) {
        const { status } = await ask({ port, ca: authority.read("ca.pem"), agent });
        assert.equal(status, 200);
      }
  })();
  sluice.write("site.pem", authority.read("two.pem"));
  await sluice.reload();
  const { problems = [] } = (await sluice.status()).lastReload as { problems?: string[] };
  assert.match(problems.join(), /site\.key is not the key of the certificate in .*site\.pem/);
  assert.equal(await subject(), "one");
  sluice.write("site.key", authority.read("two.key"));
  await until(async () => (await subject()) === "two", "the watched files are taken");
  const before = count;
  await until(() => count > before + 2, "requests go on");
  stopped = true;
  await load;
  kept.destroy();
});
