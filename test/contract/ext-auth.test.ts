/** The built-in filters that suspend: ext-auth, which queries a service, and delay. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { describe, test } from "node:test";
import type { FetchRequest, FetchResponse } from "../../sdk/test.js";
import { plugin } from "../../src/testing/index.ts";

const PLUGINS = join(import.meta.dirname, "../../plugins");

type Respond = (request: FetchRequest) => FetchResponse | null;

function extAuth(config: object, respond: Respond = () => ({ status: 200 })) {
  const options = { clusters: ["app", "auth"], allow: { fetch: ["cluster:auth"] }, fetch: respond };
  return plugin(join(PLUGINS, "ext-auth.wasm"), { ...options, config: { cluster: "auth", ...config } });
}

describe("ext-auth", () => {
  test("passes the request to the service, with the configured headers only", async () => {
    const asked: FetchRequest[] = [];
    const respond: Respond = (request) => {
      asked.push(request);
      return { status: 204 };
    };
    const guest = await extAuth({ path: "/check?a=1" }, respond);
    const { outcome, edits } = await guest.requestAsync({
      method: "POST",
      url: "https://shop.example.com/orders?id=7",
      headers: { cookie: ["a=1", "b=2"], authorization: "Bearer x", "x-forwarded-uri": "/open", "x-secret": "1" },
      client: "2001:db8::1",
    });
    assert.deepEqual([outcome, edits], ["continue", []]);
    const [{ method, url, headers, body, timeout }] = asked as [FetchRequest];
    assert.deepEqual([method, url, body, timeout], ["GET", "cluster:auth/check?a=1", "", 1000]);
    assert.deepEqual(headers, {
      host: "auth",
      "x-forwarded-method": "POST",
      "x-forwarded-proto": "https",
      "x-forwarded-host": "shop.example.com",
      "x-forwarded-uri": "/orders?id=7",
      "x-forwarded-for": "2001:db8::1",
      authorization: "Bearer x",
      cookie: "a=1, b=2",
    });
    for (const [prefix, path] of [
      ["/check", "/check/orders?id=7"],
      ["/check/", "/check/orders?id=7"],
      ["/", "/orders?id=7"],
    ]) {
      const prefixed = await extAuth({ prefix, send: ["x-secret"] }, respond);
      await prefixed.requestAsync({ url: "/orders?id=7", headers: { "X-Secret": "1", cookie: "a=1" } });
      assert.equal(asked.at(-1)!.url, `cluster:auth${path}`);
      assert.deepEqual([asked.at(-1)!.headers["x-secret"], asked.at(-1)!.headers.cookie], ["1", undefined]);
    }
  });

  test("sends no path for OPTIONS *", async () => {
    const asked: string[] = [];
    for (const prefix of ["/check", "/"]) {
      const guest = await extAuth({ prefix }, ({ url, headers }) => {
        asked.push(url, headers["x-forwarded-uri"]!);
        return { status: 200 };
      });
      assert.equal((await guest.requestAsync({ method: "OPTIONS", url: "*" })).outcome, "continue");
    }
    assert.deepEqual(asked, ["cluster:auth/check", "*", "cluster:auth/", "*"]);
  });

  test("forwards headers of the response to the upstream and the client, and drops forged ones", async () => {
    const config = { upstream: ["x-user", "x-role"], client: ["set-cookie", "x-none"] };
    const guest = await extAuth(config, () => ({
      headers: { "X-User": "ann", "x-other": "1", "set-cookie": ["a=1", "b=2"] },
    }));
    const request = await guest.requestAsync({ headers: { "x-user": "root", "x-role": "admin" } });
    assert.deepEqual(request.headers, { host: "localhost", "x-user": "ann" });
    const { fields } = await guest.responseAsync({ headers: { server: "s", "set-cookie": "c=3" } }, request);
    assert.deepEqual(fields, [
      ["server", "s"],
      ["set-cookie", "c=3"],
      ["set-cookie", "a=1"],
      ["set-cookie", "b=2"],
    ]);
  });

  test("forwards a rejection with its body and the configured headers", async () => {
    const form = { "content-type": "text/html", "content-encoding": "br", "content-language": "fr" };
    const headers = { location: "/login", "set-cookie": ["a=1", "b=2"], "x-inner": "1", ...form };
    const respond: Respond = ({ headers: { cookie } }) => ({ status: Number(cookie), headers, body: "<héllo>" });
    const guest = await extAuth({}, respond);
    for (const status of [300, 302, 401, 403, 429, 499]) {
      const { outcome, response } = await guest.requestAsync({ headers: { cookie: String(status) } });
      assert.deepEqual([outcome, response?.status, response?.body], ["respond", status, "<héllo>"]);
      const { location, "set-cookie": cookies, "x-inner": inner } = response!.headers;
      assert.deepEqual([location, cookies, inner], ["/login", "a=1, b=2", undefined]);
    }
    const few = await extAuth({ refusal: "x-inner" }, respond);
    const { response } = await few.requestAsync({ headers: { cookie: "401" } });
    assert.deepEqual(response?.headers, { "x-inner": "1", ...form });
  });

  test("rejects when the service fails, or admits without its headers", async () => {
    const failures: FetchResponse[] = [
      { status: 500 },
      { status: 503 },
      { delay: 301 },
      { body: Buffer.alloc(2 ** 20 + 1) },
    ];
    for (const failure of [...failures, null]) {
      const closed = await extAuth({ timeout: 300 }, () => failure);
      const { response, log } = await closed.requestAsync();
      assert.equal(response?.status, 503);
      assert.match(log[0]!.text, /authorization service auth: /);
      const denying = await extAuth({ timeout: 300, status: 403 }, () => failure);
      assert.equal((await denying.requestAsync()).response?.status, 403);
      const open = await extAuth({ timeout: 300, failure: "pass", upstream: "x-user" }, () => failure);
      const { outcome, headers } = await open.requestAsync({ headers: { "x-user": "root" } });
      assert.deepEqual([outcome, headers["x-user"]], ["continue", undefined]);
    }
  });

  test("admits no request that is too large for the authorization service", async () => {
    const open = await extAuth({ failure: "pass", prefix: "/check" });
    const fields = { cookie: Array.from({ length: 30 }, () => "a".repeat(1000)) };
    assert.equal((await open.requestAsync({ headers: fields })).response?.status, 431);
    assert.equal((await open.requestAsync({ url: `/${"a".repeat(9000)}` })).response?.status, 414);
    const many = { cookie: Array.from({ length: 300 }, () => "a") };
    await assert.rejects(open.requestAsync({ headers: many }), { name: "PluginFailure" });
  });

  test("rejects a configuration that would fail for every request", async () => {
    const wrong: [config: object, message: RegExp][] = [
      [{ cluster: "other" }, /cluster "other": it is unknown/],
      [{ path: "/a", prefix: "/b" }, /config prefix: expected either prefix or path/],
      [{ path: "check" }, /config\.path: invalid value "check"/],
      [{ prefix: "/check?a=1" }, /config\.prefix/],
      [{ timeout: 0 }, /config\.timeout/],
      [{ send: ["x-forwarded-for"] }, /config send: expected headers that may be set/],
      [{ upstream: ["content-length"] }, /config upstream: expected/],
      [{ client: ["a b"] }, /config client: expected/],
      [{ failure: "open" }, /config\.failure/],
      [{ status: 200 }, /config\.status/],
    ];
    for (const [config, message] of wrong) await assert.rejects(extAuth(config), message, JSON.stringify(config));
  });
});

describe("delay", () => {
  const delay = (config: object) =>
    plugin(join(PLUGINS, "delay.wasm"), { config, limits: { time: 120_000 }, now: () => 0 });

  test("delays its share of requests", async () => {
    const all = await delay({ milliseconds: 60_000 });
    for (let i = 0; i < 3; i++) {
      const { outcome, suspended, edits } = await all.requestAsync();
      assert.deepEqual([outcome, suspended, edits], ["continue", 60_000, []]);
    }
    assert.equal((await (await delay({ percent: 0, milliseconds: 100 })).requestAsync()).suspended, 0);
    const some = await delay({ percent: 50, milliseconds: 100 });
    let delayed = 0;
    for (let i = 0; i < 400; i++) if ((await some.requestAsync()).suspended === 100) delayed++;
    // Ten standard deviations.
    assert.ok(delayed > 100 && delayed < 300, `${delayed}`);
  });

  test("rejects invalid shares and times", async () => {
    await assert.rejects(delay({}), /config: the key "milliseconds" is missing/);
    await assert.rejects(delay({ milliseconds: 60_001 }), /config\.milliseconds/);
    await assert.rejects(delay({ milliseconds: 1, percent: 101 }), /config\.percent/);
  });
});
