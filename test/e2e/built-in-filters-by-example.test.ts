/** built-in-filters-by-example: the example of each built-in filter does what its README promises. */
import assert from "node:assert/strict";
import { seenBy, startExample } from "./example.ts";
import { testInUsualMode } from "./program.ts";

testInUsualMode("api-key: the endpoint receives the key's owner, not the key", async (t) => {
  const { get } = await startExample(t, "api-key");
  assert.equal((await get("/")).status, 401);
  assert.equal((await get("/", { "x-api-key": "alices-key-0123456780" })).status, 401);
  for (const [key, name] of [
    ["alices-key-0123456789", "alice"],
    ["builder-key-0123456789", "build"],
  ] as const) {
    const { headers } = seenBy(await get("/", { "x-api-key": key, "x-consumer": "root" }));
    assert.deepEqual([headers["x-consumer"], headers["x-api-key"]], [name, undefined]);
  }
});

testInUsualMode("basic-auth: password hashes, plain and salted, and a public path", async (t) => {
  const { get } = await startExample(t, "basic-auth");
  const login = (user: string) => ({ authorization: `Basic ${Buffer.from(user).toString("base64")}` });
  const refused = await get("/");
  assert.deepEqual([refused.status, refused.headers["www-authenticate"]?.includes("Staging")], [401, true]);
  assert.equal(seenBy(await get("/", login("alice:open sesame and close it"))).headers["x-user"], "alice");
  assert.equal(seenBy(await get("/", login("bob:correct horse battery staple"))).headers["x-user"], "bob");
  assert.equal((await get("/", login("alice:correct horse battery staple"))).status, 401);
  assert.equal(seenBy(await get("/health")).headers["x-user"], undefined);
});

testInUsualMode("cors: one site and its previews are allowed, others are not", async (t) => {
  const { get } = await startExample(t, "cors");
  const asks = { origin: "https://app.example.com", "access-control-request-method": "PUT" };
  const preflight = await get("/", asks, "OPTIONS");
  assert.deepEqual([preflight.status, preflight.headers["access-control-max-age"]], [204, "600"]);
  assert.match(String(preflight.headers["access-control-allow-methods"]), /PUT/);
  assert.equal((await get("/", { ...asks, origin: "https://evil.example" }, "OPTIONS")).status, 403);
  for (const [origin, leave] of [
    ["https://app.example.com", "https://app.example.com"],
    ["https://one.preview.example.com", "https://one.preview.example.com"],
    ["https://evil.example", undefined],
  ] as const) {
    const { status, headers } = await get("/", { origin });
    assert.deepEqual([status, headers["access-control-allow-origin"]], [200, leave], origin);
  }
});

testInUsualMode("rate-limit: a burst of three, a hundred by key, and a limit that only reports", async (t) => {
  const { get, printed } = await startExample(t, "rate-limit");
  const statuses: number[] = [];
  for (let i = 0; i < 4; i++) statuses.push((await get("/")).status);
  assert.deepEqual(statuses, [200, 200, 200, 429]);
  const refused = await get("/");
  assert.match(String(refused.headers["retry-after"]), /^[1-9]$/);
  assert.match(String(refused.headers["ratelimit-policy"]), /^"clients";q=10;w=60/);
  const byKey = await get("/api/", { "x-api-key": "a" });
  assert.deepEqual([byKey.status, byKey.headers.ratelimit], [200, '"keys";r=99;t=1']);
  for (let i = 0; i < 3; i++) assert.equal((await get("/reports/")).status, 200);
  while (!/dry run|would/.test(printed())) await new Promise((resolve) => setTimeout(resolve, 20));
});

testInUsualMode("ip-filter: one network is allowed to the administration, another is denied everything", async (t) => {
  const { get } = await startExample(t, "ip-filter");
  const from = async (address: string, path: string) => (await get(path, { "x-forwarded-for": address })).status;
  assert.equal(await from("198.51.100.7", "/admin/"), 200);
  assert.equal(await from("2001:db8::7", "/admin/"), 200);
  assert.equal(await from("192.0.2.9", "/admin/"), 403);
  assert.equal(await from("192.0.2.9", "/"), 200);
  assert.equal(await from("203.0.113.5", "/"), 403);
});

testInUsualMode("fault: half of the requests that ask for it fail, and no other", async (t) => {
  const { get } = await startExample(t, "fault");
  const responses = await Promise.all(Array.from({ length: 40 }, () => get("/", { "x-chaos": "on" })));
  assert.deepEqual(new Set(responses.map(({ status }) => status)), new Set([200, 503]));
  assert.equal(responses.find(({ status }) => status === 503)!.body, "injected\n");
  for (let i = 0; i < 10; i++) assert.equal((await get("/")).status, 200);
});

testInUsualMode("jwt: a token for this audience is accepted, another is not", async (t) => {
  const { get, printed } = await startExample(t, "jwt");
  const [good, other] = Array.from(printed().matchAll(/Authorization: (Bearer [^']+)/g), ([, token]) => token!);
  assert.equal((await get("/")).status, 401);
  const { headers } = seenBy(await get("/", { authorization: good, "x-user": "root" }));
  assert.deepEqual([headers["x-user"], headers["x-roles"]], ["ann", "buyer"]);
  const refused = await get("/", { authorization: other });
  assert.equal(refused.status, 401);
  assert.match(String(refused.headers["www-authenticate"]), /error="invalid_token"/);
});
