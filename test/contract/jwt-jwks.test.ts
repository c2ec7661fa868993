/** The built-in filter jwt-jwks: tokens are verified with the keys that a server publishes, which only a tick fetches. */
import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { join } from "node:path";
import { test } from "node:test";
import type { FetchResponse, RequestResult } from "../../sdk/test.js";
import { plugin } from "../../src/testing/index.ts";
import { makeRsaSigner, makeSigner, type Signer } from "../fixtures/signer.ts";

const URL_OF_KEYS = "https://keys.example.com/jwks.json";
const FILE = join(import.meta.dirname, "../../plugins/jwt-jwks.wasm");

/** The filter, and the server whose response a test sets. */
async function start(config: object = {}) {
  const server = { asked: 0, respond: (): FetchResponse | null => ({ status: 200, body: '{"keys":[]}' }) };
  const clock = { now: Date.now() };
  const options = {
    clusters: ["app", "keys"],
    allow: { fetch: ["https://keys.example.com", "cluster:keys"], kv: ["jwt-jwks"] },
    now: () => clock.now,
    fetch: (): FetchResponse | null => {
      server.asked++;
      return server.respond();
    },
  };
  const guest = await plugin(FILE, {
    ...options,
    config: { jwks: URL_OF_KEYS, claims: { "x-user": "sub" }, ...config },
  });
  const publish = (...signers: Signer[]) => {
    server.respond = () => ({ status: 200, body: JSON.stringify({ keys: signers.map(({ jwk }) => jwk) }) });
  };
  const ask = (token: string): Promise<RequestResult> =>
    guest.requestAsync({ headers: { authorization: `Bearer ${token}`, "x-user": "forged" } });
  return { guest, server, clock, publish, ask, pass: (seconds: number) => (clock.now += seconds * 1000) };
}

const statusOf = ({ response, headers }: RequestResult) => response?.status ?? headers["x-user"];

test("keys are fetched once per interval, and verify tokens", async () => {
  const { guest, server, publish, ask, pass } = await start({ issuer: "id" });
  const [ed, rsa] = [makeSigner("ed"), makeRsaSigner("rsa")];
  publish(ed, rsa);
  for (let i = 0; i < 3; i++) await guest.tickAsync();
  assert.equal(server.asked, 1);
  for (const signer of [ed, rsa]) assert.equal(statusOf(await ask(signer.token({ iss: "id" }))), "ann");
  const refused = await ask(ed.token({ iss: "other" }));
  assert.deepEqual(
    [refused.response?.status, refused.response?.body],
    [401, "invalid token: it is from another issuer\n"],
  );
  assert.equal((await guest.requestAsync({})).response?.status, 401);
  pass(299);
  await guest.tickAsync();
  assert.equal(server.asked, 1);
  pass(2);
  await guest.tickAsync();
  assert.equal(server.asked, 2);
});

test("a new key is found by its id, and a flood of unknown ids causes few requests", async () => {
  const { guest, server, publish, ask, pass } = await start();
  const [old, next] = [makeSigner("2025"), makeSigner("2026")];
  publish(old);
  await guest.tickAsync();
  publish(old, next);
  // Within the interval after a response no call suspends.
  const refused = await ask(next.token());
  assert.deepEqual([refused.response?.status, refused.suspended], [401, 0]);
  pass(11);
  const suspended = await ask(next.token());
  assert.ok(suspended.suspended > 0, "it waits for a tick");
  await guest.tickAsync();
  assert.equal(server.asked, 2);
  assert.equal(statusOf(await ask(next.token())), "ann");
  for (let i = 0; i < 50; i++) {
    assert.equal(statusOf(await ask(makeSigner(`made-up-${i}`).token())), 401);
    await guest.tickAsync();
  }
  assert.equal(server.asked, 2);
  // A token that is rejected without a new key causes no fetch.
  pass(11);
  for (const token of [
    `${old.token().slice(0, -8)}AAAAAAAA`,
    old.token({}, { kid: undefined }),
    old.token({}, { alg: "HS256" }),
  ])
    await ask(token);
  await guest.tickAsync();
  assert.equal(server.asked, 2);
});

test("while the server fails, old keys stay valid for the configured time", async () => {
  const { guest, server, publish, ask, pass } = await start({ refresh: 60, stale: 600 });
  const signer = makeSigner("one");
  publish(signer);
  await guest.tickAsync();
  const long = signer.token({ exp: Math.floor(Date.now() / 1000) + 7200 });
  const failures: (() => FetchResponse | null)[] = [
    () => null,
    () => ({ status: 500 }),
    () => ({ status: 200, body: "<html>" }),
    () => ({ status: 200, body: '{"keys":[]}' }),
    () => ({ status: 200, body: '{"keys":[{}, 1, null, "x", []]}' }),
    () => ({ status: 200, body: "x".repeat(300_000) }),
    () => ({ status: 200, body: "{}", delay: 9000 }),
  ];
  for (const failure of failures) {
    server.respond = failure;
    pass(61);
    const { log } = await guest.tickAsync();
    assert.match(log[0]!.text, /^https:\/\/keys\.example\.com\/jwks\.json: no keys fetched: /);
    assert.equal(statusOf(await ask(long)), "ann");
  }
  assert.equal(server.asked, 1 + failures.length);
  pass(300);
  const { response } = await ask(long);
  assert.deepEqual([response?.status, response?.headers["retry-after"]], [503, "1"]);
  publish(signer);
  await guest.tickAsync();
  assert.equal(statusOf(await ask(long)), "ann");
});

test("only keys for signatures are used, each for its algorithm", async () => {
  const { guest, publish, ask } = await start();
  const good = makeSigner("good");
  const privately = {
    ...good,
    jwk: { ...generateKeyPairSync("ed25519").privateKey.export({ format: "jwk" }), kid: "private" },
  };
  const [encrypts, unknown, broken] = [
    makeSigner("enc", { use: "enc" }),
    makeSigner("es", { alg: "ES256" }),
    makeSigner("tab\t"),
  ];
  const secret = {
    ...good,
    jwk: { kty: "oct", k: Buffer.alloc(32).toString("base64url"), alg: "HS256", kid: "secret" },
  };
  publish(encrypts, unknown, broken, privately, secret, good);
  await guest.tickAsync();
  assert.match(guest.kv("jwt-jwks").get(`${URL_OF_KEYS} keys`)!, /^EdDSA\tgood\t\{[^\n]*\}\n$/);
  assert.equal(statusOf(await ask(good.token())), "ann");
  for (const signer of [encrypts, unknown, broken]) assert.equal(statusOf(await ask(signer.token())), 401);
});

test("calls waiting for one response leave guests for others", async () => {
  const { guest, clock, publish, ask } = await start();
  const known = makeSigner("one");
  publish(known);
  await guest.tickAsync();
  guest.kv("jwt-jwks").delete(`${URL_OF_KEYS} fetch`);
  const statuses: unknown[] = [];
  for (let i = 0; i < 18; i++) {
    const result = await ask(makeSigner("other").token());
    statuses.push(statusOf(result));
    // As if all of them suspended at one time.
    clock.now -= result.suspended;
  }
  assert.deepEqual(statuses, [...Array(16).fill(401), 503, 503]);
  assert.equal(statusOf(await ask(known.token())), "ann");
  await guest.tickAsync();
  assert.equal(statusOf(await ask(makeSigner("other").token())), 401);
});

test("an invalid configuration is rejected", async () => {
  for (const [config, problem] of [
    [{ jwks: "ftp://keys/" }, /jwks/],
    [{ jwks: "https://user:secret@keys/" }, /jwks/],
    [{ jwks: `https://keys/${"x".repeat(200)}` }, /jwks/],
    [{ jwks: "cluster:none/jwks" }, /none/],
    [{ refresh: 600, stale: 60 }, /stale: expected at least as long as refresh|at least as long/],
    [{ cooldown: 0 }, /cooldown/],
    [{ keys: [] }, /keys/],
  ] as const)
    await assert.rejects(start(config), problem);
  await start({ jwks: "cluster:keys/jwks" });
});
