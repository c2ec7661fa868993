/**
 * Debian's testssl.sh against the default TLS configuration. It takes two to three minutes, most of them waiting, so it
 * runs only when asked for: `TESTSSL=testssl npm test -- testssl`.
 */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { promisify } from "node:util";
import { Authority } from "../support/certificates.ts";
import { startUpstream } from "./peers.ts";
import { startSluice, testInUsualMode } from "./program.ts";

const command = process.env.TESTSSL;

/** Findings about what is not Sluice's: the certificate of the test is of an authority without revocation. */
const NOT_OURS = new Set(["cert_revocation"]);
const ABOVE_LOW = new Set(["MEDIUM", "HIGH", "CRITICAL", "FATAL"]);

type Finding = { readonly id: string; readonly severity: string; readonly finding: string };

if (command === undefined)
  test("testssl.sh finds nothing above low", { skip: "takes minutes: set TESTSSL to its command" }, () => {});
else
  testInUsualMode("testssl.sh finds nothing above low", async (t) => {
    const authority = new Authority();
    t.after(() => authority.remove());
    authority.issue("site");
    // The headers that testssl.sh expects are those of an application.
    const upstream = await startUpstream(t, (_, response) => {
      response.setHeader("x-frame-options", "DENY");
      response.end("ok");
    });
    const sluice = await startSluice(
      t,
      ({ web }) => `
listeners:
  web:
    address: 127.0.0.1:${web}
    cluster: app
    tls: { certificates: [{ cert: site.pem, key: site.key }] }
clusters:
  app: ["127.0.0.1:${upstream.port}"]
`,
      { workers: 2, files: { "site.pem": authority.read("site.pem"), "site.key": authority.read("site.key") } },
    );
    const report = authority.path("report.json");
    const args = ["--quiet", "--color", "0", "--warnings", "off", "--nodns", "none", "--jsonfile", report];
    // Its exit status counts findings.
    await promisify(execFile)(command, [
      ...args,
      "--add-ca",
      authority.path("ca.pem"),
      `localhost:${sluice.port}`,
    ]).catch(() => undefined);
    const findings: Finding[] = JSON.parse(readFileSync(report, "utf8"));
    for (const id of ["TLS1_2", "TLS1_3", "cipher_order", "cert_trust", "heartbleed", "LUCKY13"])
      assert.ok(
        findings.some((found) => found.id.startsWith(id)),
        `${id} was checked`,
      );
    const bad = findings.filter(({ id, severity }) => ABOVE_LOW.has(severity) && !NOT_OURS.has(id));
    assert.deepEqual(bad, []);
  });
