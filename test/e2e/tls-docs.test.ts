/** The configurations of docs/tls.md, run unchanged except for ports. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { Authority } from "../support/certificates.ts";
import { startUpstream } from "./peers.ts";
import { atEnd, type LiveTest, reuseSluice, testInUsualMode } from "./program.ts";
import { curl } from "./tls.ts";

const page = readFileSync(join(import.meta.dirname, "../../docs/tls.md"), "utf8");
const authority = new Authority();
authority.issue("site");
authority.issue("site-rsa", { key: "rsa" });
authority.issue("wildcard", { names: "DNS:*.b.example", passphrase: "secret" });
authority.issue("client");
authority.issue("api", { names: "DNS:api.internal" });
test.after(() => authority.remove());
const ca = authority.path("ca.pem");

/** An endpoint that demands a certificate; its port. */
async function startSecured(t: LiveTest): Promise<number> {
  const options = { cert: authority.read("api.pem"), key: authority.read("api.key"), ca: authority.read("ca.pem") };
  const server = createServer({ ...options, requestCert: true, rejectUnauthorized: true }, (_, response) =>
    response.end("secured"),
  );
  atEnd(t, () => {
    server.close();
    server.closeAllConnections();
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  return (server.address() as AddressInfo).port;
}

const parts = page.split(/^## /m).slice(1);
const configs = parts.flatMap((part) => {
  const [, text] = /^```yaml\n(.*?)^```$/ms.exec(part) ?? [];
  return text === undefined ? [] : [{ title: part.split("\n", 1)[0]!, text }];
});

for (const { title, text } of configs)
  testInUsualMode(`docs/tls.md: ${title}`, async (t) => {
    const upstream = await startUpstream(t, ({ url }, response) =>
      url === "/broken" ? response.destroy() : response.end("ok"),
    );
    const secured = await startSecured(t);
    const names = ["site", "site-rsa", "wildcard", "client"].flatMap((name) => [`${name}.pem`, `${name}.key`]);
    const files = Object.fromEntries([...names, "ca.pem"].map((name) => [name, authority.read(name)]));
    const sluice = await reuseSluice(
      t,
      ({ web, plain }) =>
        text
          .replaceAll(":8443", `127.0.0.1:${web}`)
          .replaceAll(":8080", `127.0.0.1:${text.includes(":8443") ? plain : web}`)
          .replaceAll("127.0.0.1:9443", `127.0.0.1:${secured}`)
          .replaceAll("127.0.0.1:9001", `127.0.0.1:${upstream.port}`),
      { files, ports: ["plain"] },
    );
    if (!text.includes(":8443")) return void assert.equal(await (await fetch(sluice.url)).text(), "secured");
    const identity = ["--cert", authority.path("client.pem"), "--key", authority.path("client.key")];
    assert.equal((await curl("/", { port: sluice.port, ca, more: identity })).out, "ok");
    if (text.includes("redirect")) {
      const response = await fetch(`http://127.0.0.1:${sluice.ports.plain}/x`, { redirect: "manual" });
      assert.deepEqual([response.status, response.headers.get("location")], [308, "https://127.0.0.1/x"]);
      assert.equal(response.headers.get("strict-transport-security"), null);
      for (const [path, status] of [
        ["/", 200],
        ["/broken", 502],
      ] as const) {
        const { out } = await curl(path, { port: sluice.port, ca, more: ["-i"] });
        const head = `^HTTP/(?:1\\.1|2) ${status} [^]*\r\nstrict-transport-security: max-age=63072000\r\n`;
        assert.match(out, new RegExp(head, "i"));
      }
    }
  });

test("the page shows every case", () => assert.ok(configs.length >= 4));
