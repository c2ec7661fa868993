/** Every example works as described in its README, and exits with 0. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { examples, seenBy, startExample } from "./example.ts";
import { runSluice, testInUsualMode, until } from "./program.ts";

testInUsualMode("quickstart by npm start: a filter greets and rejects, a router selects beta", async (t) => {
  const { get } = await startExample(t, "quickstart", { command: ["npm", "start", "--ignore-scripts"] });
  const upstreams = new Set<string>();
  for (let i = 0; i < 4; i++) {
    const response = await get("/");
    assert.equal(response.status, 200);
    assert.equal(response.headers["x-served-by"], "sluice");
    assert.equal(response.headers["x-powered-by"], undefined);
    const seen = seenBy(response);
    assert.equal(seen.headers["x-greeting"], "hello");
    upstreams.add(seen.upstream);
  }
  assert.ok(upstreams.isSubsetOf(new Set(["app-1", "app-2"])));
  assert.equal(seenBy(await get("/", { "x-beta": "1" })).upstream, "beta");
  assert.equal(seenBy(await get("/next/page")).upstream, "beta");
  const refused = await get("/private/keys");
  assert.equal(refused.status, 403);
  assert.equal(refused.body, "not for you\n");
});

testInUsualMode("canary-split: a known user stays with one version, others are split", async (t) => {
  const { get } = await startExample(t, "canary-split");
  assert.equal(seenBy(await get("/", { "x-canary": "always" })).upstream, "canary");
  const users = Array.from({ length: 60 }, (_, i) => `user-${i}`);
  const sides = new Map<string, string>();
  for (const user of users) sides.set(user, seenBy(await get("/", { "x-user": user })).upstream);
  for (const user of users) assert.equal(seenBy(await get("/", { "x-user": user })).upstream, sides.get(user));
  assert.deepEqual([...new Set(sides.values())].sort(), ["canary", "stable"]);
  assert.match(seenBy(await get("/")).upstream, /^(stable|canary)$/);
});

testInUsualMode("tenant-routing: the host name selects the tenant, the tenant the cluster", async (t) => {
  const { get } = await startExample(t, "tenant-routing");
  const acme = seenBy(await get("/", { host: "acme.example.com" }));
  assert.deepEqual([acme.upstream, acme.headers["x-tenant"]], ["acme", "acme"]);
  const small = seenBy(await get("/", { host: "small.example.com:8080" }));
  assert.deepEqual([small.upstream, small.headers["x-tenant"]], ["shared", "small"]);
  for (const host of ["example.com", "evil.example.org", ".example.com", "a.b.example.com"]) {
    assert.equal((await get("/", { host })).status, 404, host);
  }
});

testInUsualMode("ab-header: a visitor gets a variant and keeps it", async (t) => {
  const { get } = await startExample(t, "ab-header");
  const first = await get("/");
  const [, variant] = /^variant=([ab]); Path=\/; Max-Age=\d+$/.exec(String(first.headers["set-cookie"]))!;
  assert.equal(seenBy(first).headers["x-variant"], variant);
  for (const kept of ["a", "b"]) {
    const again = await get("/", { cookie: `other=1; variant=${kept}`, "x-variant": "forged" });
    assert.equal(seenBy(again).headers["x-variant"], kept);
    assert.equal(again.headers["set-cookie"], undefined);
  }
});

testInUsualMode("canary-cookie: a visitor keeps the selected version", async (t) => {
  const { get } = await startExample(t, "canary-cookie");
  const first = await get("/");
  const [, drawn] = /^release=(\d{1,4}); Path=\/; Max-Age=\d+; HttpOnly; SameSite=Lax$/.exec(
    String(first.headers["set-cookie"]),
  )!;
  const sides: [cookie: string, upstream: string][] = [
    [drawn!, seenBy(first).upstream],
    ["0", "canary"],
    ["1999", "canary"],
    ["2000", "stable"],
    ["9999", "stable"],
  ];
  for (const [cookie, upstream] of sides) {
    const again = await get("/", { cookie: `other=1; release=${cookie}` });
    assert.equal(seenBy(again).upstream, upstream, cookie);
    assert.equal(again.headers["set-cookie"], undefined);
  }
  for (const cookie of ["", "x", "-1", "10000"])
    assert.match(
      String((await get("/", { cookie: `release=${cookie}` })).headers["set-cookie"]),
      /^release=\d/,
      cookie,
    );
});

testInUsualMode("mask-json: configured fields of a response are masked", async (t) => {
  const { get } = await startExample(t, "mask-json");
  const response = await get("/", { authorization: "Bearer secret", "x-kept": "yes" });
  const seen = seenBy(response);
  assert.deepEqual([seen.headers.authorization, seen.headers["x-kept"]], ["***", "yes"]);
  assert.ok(!response.body.includes("Bearer secret"));
});

testInUsualMode("external-auth: a service authorizes requests, by a plugin and by the built-in filter", async (t) => {
  const { get } = await startExample(t, "external-auth");
  const anonymous = await get("/");
  assert.deepEqual([anonymous.status, anonymous.headers.location], [302, "/login"]);
  assert.equal((await get("/", { cookie: "session=other" })).status, 302);
  assert.equal(seenBy(await get("/login")).upstream, "app");
  for (const path of ["/", "/again", "/built-in/"]) {
    const seen = seenBy(await get(path, { cookie: "a=1; session=s1-ann", "x-user": "root" }));
    assert.deepEqual([seen.upstream, seen.headers["x-user"]], ["app", "ann"], path);
  }
  const refused = await get("/built-in/x", { cookie: "session=other" });
  assert.deepEqual(
    [refused.status, refused.body, refused.headers["www-authenticate"]],
    [401, "who are you?\n", "Cookie"],
  );
});

test("external-auth: its plugin's own tests pass", async () => {
  const { code, stdout } = await runSluice("plugin", "test", join(examples, "external-auth"));
  assert.equal(code, 0, stdout);
  assert.match(stdout, /pass 4/);
});

testInUsualMode(
  "health-check: a draining instance gets no traffic; a cluster without healthy endpoints responds 503",
  async (t) => {
    const { get } = await startExample(t, "health-check");
    const drained = JSON.parse((await get("/drain")).body);
    assert.match(drained.upstream, /^app-[12]$/);
    const others = async (): Promise<boolean> => {
      const names = new Set<string>();
      for (let i = 0; i < 6; i++) names.add(JSON.parse((await get("/")).body).upstream);
      return !names.has(drained.upstream);
    };
    await until(others, "the other instance serves alone");
    await until(async () => (await get("/gone")).status === 503, "no subrequest is sent where no server listens");
  },
);

test("health-check: its plugin's own tests pass", async () => {
  const { code, stdout } = await runSluice("plugin", "test", join(examples, "health-check"));
  assert.equal(code, 0, stdout);
  assert.match(stdout, /pass 2/);
});

testInUsualMode("c-plugin: a filter in C sets an edition, and responds with it", async (t) => {
  const { get } = await startExample(t, "c-plugin");
  assert.equal(seenBy(await get("/")).headers["x-edition"], "stable");
  assert.equal(seenBy(await get("/", { "x-wants": "beta" })).headers["x-edition"], "beta");
  const response = await get("/edition");
  assert.deepEqual([response.status, response.body], [200, "stable"]);
});

testInUsualMode("the extism example: filters written with Extism's PDK and by hand", async (t) => {
  const { get } = await startExample(t, "extism");
  const acme = await get("/a?b=1", { host: "acme.example.com" });
  assert.equal(acme.status, 200);
  const { headers } = seenBy(acme);
  assert.deepEqual([headers["x-tenant"], headers["x-greeting"]], ["acme", "hello"]);
  const none = await get("/", { host: "www.example.com" });
  assert.deepEqual([none.status, none.body], [400, "no tenant in the host name\n"]);
  const counted = [];
  for (let i = 0; i < 4; i++) {
    const { status, body } = await get("/", { host: "acme.example.com", "x-user": "ann" });
    counted.push(status === 200 ? JSON.parse(body).headers["x-count"] : body);
  }
  assert.deepEqual(counted, ["1", "2", "3", "over the quota\n"]);
});
