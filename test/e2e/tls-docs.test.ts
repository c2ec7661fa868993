/** The configurations of docs/tls.md, run as they stand, on other ports. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { Authority } from "../support/certificates.ts";
import { startUpstream } from "./peers.ts";
import { startSluice, testInUsualMode } from "./program.ts";
import { curl } from "./tls.ts";

const page = readFileSync(join(import.meta.dirname, "../../docs/tls.md"), "utf8");
const authority = new Authority();
authority.issue("site");
authority.issue("site-rsa", { key: "rsa" });
authority.issue("wildcard", { names: "DNS:*.b.example", passphrase: "secret" });
authority.issue("client");
test.after(() => authority.remove());
const ca = authority.path("ca.pem");

const parts = page.split(/^## /m).slice(1);
const configs = parts.flatMap((part) => {
  const [, text] = /^```yaml\n(.*?)^```$/ms.exec(part) ?? [];
  return text === undefined ? [] : [{ title: part.split("\n", 1)[0]!, text }];
});

for (const { title, text } of configs)
  testInUsualMode(`docs/tls.md: ${title}`, async (t) => {
    const upstream = await startUpstream(t);
    const names = ["site", "site-rsa", "wildcard"].flatMap((name) => [`${name}.pem`, `${name}.key`]);
    const files = Object.fromEntries([...names, "ca.pem"].map((name) => [name, authority.read(name)]));
    const sluice = await startSluice(
      t,
      ({ web, plain }) =>
        text
          .replaceAll(":8443", `127.0.0.1:${web}`)
          .replaceAll(":8080", `127.0.0.1:${plain}`)
          .replaceAll("127.0.0.1:9001", `127.0.0.1:${upstream.port}`),
      { files, ports: ["plain"] },
    );
    const identity = ["--cert", authority.path("client.pem"), "--key", authority.path("client.key")];
    assert.equal((await curl("/", { port: sluice.port, ca, more: identity })).out, "ok");
    if (text.includes("redirect")) {
      const answer = await fetch(`http://127.0.0.1:${sluice.ports.plain}/x`, { redirect: "manual" });
      assert.deepEqual([answer.status, answer.headers.get("location")], [308, "https://127.0.0.1/x"]);
    }
  });

test("the page shows every case", () => assert.ok(configs.length >= 4));
