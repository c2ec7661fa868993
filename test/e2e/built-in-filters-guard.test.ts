/** Built-in filters in the real program: they admit authorized requests only, and count over all workers. */
import assert from "node:assert/strict";
import { createHash, generateKeyPairSync, sign } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { type Ports, runSluice, startSluice, testInUsualMode } from "./program.ts";

const LISTENER = (ports: Ports, chain: string): string =>
  `listeners: { web: { address: "127.0.0.1:${ports.web}", chain: ${chain} } }\n`;
const statusOf = async (url: string, headers: Record<string, string> = {}): Promise<number> => {
  const response = await fetch(url, { headers: { connection: "close", ...headers } });
  await response.arrayBuffer();
  return response.status;
};

test("the guide's examples pass `sluice check`, and a rejected secret is not printed", async () => {
  const directory = mkdtempSync(join(tmpdir(), "sluice-filters-"));
  try {
    const check = async (config: string) => {
      const file = join(directory, "sluice.yaml");
      writeFileSync(file, config);
      return runSluice("check", "-c", file);
    };
    const checkChain = (chain: string) =>
      check(
        `listeners:\n  web:\n    address: 127.0.0.1:8080\n    chain:\n${chain.replace(/^/gm, "      ")}\nclusters: { auth: ["127.0.0.1:9001"] }\n`,
      );
    const guide = readFileSync(join(import.meta.dirname, "../../docs/filters.md"), "utf8");
    for (const [, block] of guide.matchAll(/```yaml\n([\s\S]*?)```/g)) {
      const text = block!.replaceAll(/\$\{\w+\}/g, "0123456789abcdef".repeat(4));
      const { code, stdout, stderr } = await (text.startsWith("listeners:") ? check(text) : checkChain(text));
      assert.equal(code, 0, `${block}${stdout}${stderr}`);
    }
    const secrets = ["api-key: { keys: { ann: hunter2 } }", "basic-auth: { users: { ann: hunter2 } }"];
    secrets.push("jwt: { keys: [{ alg: HS256, secret: hunter2 }] }", "jwt: { keys: [{ alg: RS256, key: hunter2 }] }");
    for (const use of secrets) {
      const { code, stdout, stderr } = await checkChain(`- ${use}`);
      assert.equal(code, 1, use);
      assert.match(stdout + stderr, /expected/);
      assert.ok(!(stdout + stderr).includes("hunter2"), stdout + stderr);
    }
  } finally {
    rmSync(directory, { recursive: true });
  }
});

testInUsualMode("rate-limit admits the quota once over all workers", async (t) => {
  // A window of an hour: no quota is restored while the test runs.
  const chain = '[{ rate-limit: { quota: 20, window: 36000, key: "header:x-client" } }]';
  const sluice = await startSluice(t, (ports) => LISTENER(ports, chain), { workers: 3 });
  for (const client of ["ann", "bob"]) {
    const asked = Array.from({ length: 60 }, () => statusOf(sluice.url, { "x-client": client }));
    const statuses = await Promise.all(asked);
    // There are no routes: an admitted request gets 404.
    assert.deepEqual(
      [404, 429].map((status) => statuses.filter((found) => found === status).length),
      [20, 40],
    );
  }
  const response = await fetch(sluice.url, { headers: { "x-client": "ann" } });
  assert.match(response.headers.get("ratelimit")!, /^"default";r=0;t=\d+$/);
  assert.ok(Number(response.headers.get("retry-after")) > 0);
});

testInUsualMode("keys, passwords and tokens are required on every worker", async (t) => {
  const { publicKey, privateKey } = generateKeyPairSync("ed25519");
  const hash = createHash("sha256").update("open:sesame").digest("hex");
  const routes = (ports: Ports): string => `listeners:
  web:
    address: "127.0.0.1:${ports.web}"
    routes:
      - { match: { path: /key }, chain: [{ api-key: { keys: { ann: correct-horse-battery } } }], cluster: none }
      - { match: { path: /basic }, chain: [{ basic-auth: { users: { ann: "sha256:${hash}" } } }], cluster: none }
      - { match: { path: /jwt }, chain: [{ jwt: { keys: [{ alg: EdDSA, key: ${JSON.stringify(publicKey.export({ format: "jwk" }))} }] } }], cluster: none }
      - { match: { path: /inside }, chain: [{ ip-filter: { allow: 127.0.0.0/8 } }], cluster: none }
      - { match: { path: /outside }, chain: [{ ip-filter: { deny: 127.0.0.0/8 } }], cluster: none }
clusters: { none: ["127.0.0.1:1"] }
`;
  const sluice = await startSluice(t, routes, { workers: 2 });
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const text = `${part({ alg: "EdDSA" })}.${part({ exp: Math.floor(Date.now() / 1000) + 600 })}`;
  const token = `${text}.${sign(null, Buffer.from(text), privateKey).toString("base64url")}`;
  const basic = Buffer.from("ann:open:sesame").toString("base64");
  // No endpoint listens: an admitted request gets 502.
  const cases: [path: string, headers: Record<string, string>, status: number][] = [
    ["/key", {}, 401],
    ["/key", { "x-api-key": "correct-horse-battery" }, 502],
    ["/basic", { authorization: `Basic ${basic.slice(4)}` }, 401],
    ["/basic", { authorization: `Basic ${basic}` }, 502],
    ["/jwt", { authorization: `Bearer ${text}.${token.slice(-86, -4)}AAAA` }, 401],
    ["/jwt", { authorization: `Bearer ${token}` }, 502],
    ["/inside", {}, 502],
    ["/outside", {}, 403],
  ];
  for (let i = 0; i < 6; i++)
    for (const [path, headers, status] of cases) assert.equal(await statusOf(sluice.url + path, headers), status, path);
});
