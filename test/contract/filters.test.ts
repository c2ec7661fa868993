/** The built-in filters, in the real host: what they do to heads, and which configurations they refuse. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { HOOK } from "../../src/abi/abi.ts";
import { PART } from "../../src/http/head.ts";
import { OUTCOME } from "../../src/plugin/host/host.ts";
import type { Exchange } from "../../src/proxy/exchange.ts";
import { fieldsOf } from "../unit/plugin/kit.ts";
import { builtIn, exchange, load } from "./plugin-harness.ts";

const GET = "GET /a/b?c=1 HTTP/1.1\nHost: example.com:8080\nX-Old: 1\nX-Old: 2";
const OK = "HTTP/1.1 200 OK\nServer: nginx\nX-Two: a";

/** The exchange after one configuration's hooks for request and response. */
function run(name: string, config: unknown, on: Exchange, instance = 0, configs = [config]): Exchange {
  const loaded = load(builtIn(name), { configs });
  try {
    const { hooks } = loaded.instances[instance]!;
    for (const hook of [HOOK.request_head, HOOK.response_head]) {
      if ((hooks >>> hook) & 1)
        assert.notEqual(loaded.instances[instance]!.call(hook, on), OUTCOME.failed, loaded.reports.join("\n"));
      if (on.localStatus !== 0) break;
    }
    return on;
  } finally {
    loaded.dispose();
  }
}

function refuses(name: string, config: unknown, message: RegExp): void {
  assert.throws(() => load(builtIn(name), { configs: [config] }).dispose(), { message });
}

const requestHeader = (on: Exchange, name: string) => on.request.get(name);
const responseHeader = (on: Exchange, name: string) => on.response.get(name);
const target = (on: Exchange) => `${on.request.partText(PART.path)}?${on.request.partText(PART.query)}`;

describe("headers", () => {
  test("removes, sets and adds in both directions", () => {
    const config = {
      request: { set: { "x-from": "sluice", "X-Old": "3" }, add: { "x-many": ["a", "b"] }, remove: ["x-none"] },
      response: { remove: ["server"], set: { "x-two": "b" } },
    };
    const on = run("headers", config, exchange(GET, OK));
    assert.equal(requestHeader(on, "x-from"), "sluice");
    assert.equal(requestHeader(on, "x-old"), "3");
    const many = Buffer.from("x-many");
    assert.ok(on.request.find(many, 0, many.length, 1) >= 0);
    assert.equal(responseHeader(on, "server"), undefined);
    assert.equal(responseHeader(on, "x-two"), "b");
  });

  test("removes its request headers in every spelling", () => {
    const config = { request: { set: { "x-user": "ann" }, remove: ["x-old"], add: { "x-team": "edge" } } };
    const fields = ["X_User", "x.USER", "X_Old", "x~old", "X_Team", "X-Users"].map((name) => `\n${name}: client`);
    const on = run("headers", config, exchange(GET + fields.join(""), OK));
    assert.deepEqual(fieldsOf(on.request), [
      ...["Host: example.com:8080", "X_Team: client", "X-Users: client", "x-user: ann", "x-team: edge"],
    ]);
  });

  test("replaces a value when the same name is removed and set", () => {
    const on = run("headers", { request: { remove: ["x-old"], set: { "x-old": "new" } } }, exchange(GET, OK));
    assert.equal(requestHeader(on, "x-old"), "new");
  });

  test("keeps many configurations apart", () => {
    const configs = Array.from({ length: 300 }, (_, i) => ({ request: { set: { "x-n": `${i}` } } }));
    for (const i of [0, 1, 150, 299])
      assert.equal(requestHeader(run("headers", null, exchange(GET, OK), i, configs), "x-n"), `${i}`);
  });

  test("sets Host, and takes numbers and dotted names literally", () => {
    const config = { request: { set: { host: "other.example", "x.dotted": 5, "x-on": true } } };
    const on = run("headers", config, exchange(GET, OK));
    assert.equal(on.request.partText(PART.authority), "other.example");
    assert.equal(requestHeader(on, "x.dotted"), "5");
    assert.equal(requestHeader(on, "x-on"), "true");
  });

  test("rejects a configuration that would fail for every request", () => {
    refuses("headers", { requests: {} }, /config requests: unknown key, expected one of request, response/);
    refuses("headers", { request: { delete: ["a"] } }, /config request\.delete: unknown key/);
    refuses("headers", { request: { set: { "bad name": "x" } } }, /request\.set: expected headers .* not "bad name"/);
    refuses("headers", { request: { set: { "content-length": "1" } } }, /not "content-length"/);
    refuses("headers", { request: { remove: ["Host"] } }, /request\.remove: .* not "Host"/);
    refuses("headers", { request: { set: { a: "x\r\ny: z" } } }, /request\.set\.a: expected a header value/);
    refuses("headers", { request: { set: { a: ["b"] } } }, /request\.set\.a: expected a string, found a list/);
    refuses("headers", { request: { set: "x" } }, /request\.set: expected a map, found "x"/);
    refuses("headers", { response: { remove: { a: 1 } } }, /response\.remove: expected a list, found a map/);
    refuses("headers", "x", /config \(all of it\): expected a map, found "x"/);
  });
});

describe("request-id", () => {
  const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

  test("makes an id of version 7 for the upstream and the client, and another for each request", () => {
    const ids = new Set<string>();
    for (let i = 0; i < 50; i++) {
      const on = run("request-id", {}, exchange(`${GET}\nX-Request-Id: forged`, OK));
      const id = requestHeader(on, "x-request-id")!;
      assert.match(id, UUID);
      assert.equal(responseHeader(on, "x-request-id"), id);
      const made = Number.parseInt(id.replace("-", "").slice(0, 12), 16);
      assert.ok(Math.abs(made - Date.now()) < 60_000, id);
      ids.add(id);
    }
    assert.equal(ids.size, 50);
  });

  test("keeps a trusted id, under the name that is configured", () => {
    const config = { trust: true, header: "x-trace" };
    const on = run("request-id", config, exchange(`${GET}\nX-Trace: abc`, OK));
    assert.equal(requestHeader(on, "x-trace"), "abc");
    assert.equal(responseHeader(on, "x-trace"), "abc");
    const long = run("request-id", config, exchange(`${GET}\nX-Trace: ${"a".repeat(200)}`, OK));
    assert.match(requestHeader(long, "x-trace")!, UUID);
    assert.match(requestHeader(run("request-id", config, exchange(GET, OK)), "x-trace")!, UUID);
  });

  test("works without a configuration", () => {
    assert.match(requestHeader(run("request-id", null, exchange(GET, OK)), "x-request-id")!, UUID);
  });

  test("refuses a header that cannot be set, and a trust that is not true or false", () => {
    refuses("request-id", { header: "Host" }, /config header: expected a header that may be set, found "Host"/);
    refuses("request-id", { trust: "yes" }, /config trust: expected true or false, found "yes"/);
  });
});

describe("rewrite", () => {
  const cases: [config: Record<string, string>, path: string, expected: string][] = [
    [{ strip: "/api" }, "/api/users", "/users"],
    [{ strip: "/api" }, "/api", "/"],
    [{ strip: "/api/" }, "/api/users", "/users"],
    [{ strip: "/api" }, "/apiary", "/apiary"],
    [{ replace: "/old", with: "/new" }, "/old/x/y", "/new/x/y"],
    [{ replace: "/old", with: "/new/" }, "/old", "/new"],
    [{ replace: "/old", with: "/new" }, "/older", "/older"],
    [{ replace: "/old", with: "/" }, "/old/x", "/x"],
    [{ prepend: "/v1" }, "/users", "/v1/users"],
    [{ prepend: "/v1" }, "/", "/v1/"],
    [{ path: "/index.html" }, "/any/thing", "/index.html"],
  ];
  for (const [config, path, expected] of cases) {
    test(`${JSON.stringify(config)}: ${path} → ${expected}, and the query stays`, () => {
      const on = run("rewrite", config, exchange(`GET ${path}?q=1 HTTP/1.1\nHost: a`));
      assert.equal(target(on), `${expected}?q=1`);
    });
  }

  test("rejects conflicting rewrites", () => {
    refuses("rewrite", {}, /expected exactly one of strip, replace, prepend and path, found 0/);
    refuses("rewrite", { strip: "/a", path: "/b" }, /found 2/);
    refuses("rewrite", { strip: "api" }, /config strip: expected a path that starts with \/, found "api"/);
    refuses("rewrite", { replace: "/a" }, /config with: expected a string, found nothing/);
    refuses("rewrite", { strip: "/a", with: "/b" }, /config with: expected replace together with it/);
    refuses("rewrite", { path: "/a b" }, /config path: expected a path of printable ASCII/);
  });
});

describe("respond", () => {
  const GET = "GET /a HTTP/1.1\nHost: a";

  test("sends status, body and headers, with a type for a body that has none", () => {
    const config = { status: 404, body: "ü\n", headers: { "X-A": ["1", "2"], "cache-control": "no-store" } };
    const on = run("respond", config, exchange(GET));
    assert.deepEqual([on.localStatus, on.localBody?.toString()], [404, "ü\n"]);
    assert.deepEqual(fieldsOf(on.response), [
      ...["x-a: 1", "x-a: 2", "cache-control: no-store", "content-type: text/plain; charset=utf-8"],
    ]);
    const own = run("respond", { body: "{}", headers: { "Content-Type": "application/json" } }, exchange(GET));
    assert.deepEqual([own.localStatus, fieldsOf(own.response)], [200, ["content-type: application/json"]]);
    const empty = run("respond", null, exchange(GET));
    assert.deepEqual([empty.localStatus, empty.localBody?.length, fieldsOf(empty.response)], [200, 0, []]);
  });

  test("sends the largest body with the fuel of one call, for each of many configurations", () => {
    const configs = ["x", "é"].map((one) => ({ body: one.repeat(65536 / Buffer.byteLength(one)) }));
    for (const i of [0, 1]) {
      const on = run("respond", null, exchange(GET), i, configs);
      assert.equal(on.localBody?.toString(), configs[i]!.body);
    }
    refuses("respond", { body: `${configs[1]!.body}x` }, /config body: 65537 bytes, expected at most 65536/);
  });

  test("refuses what no response can have", () => {
    refuses("respond", { status: 101 }, /config status: expected 200 to 599/);
    refuses("respond", { status: 204, body: "x" }, /config body: expected no body with status 204, found "x"/);
    refuses(
      "respond",
      { status: 301 },
      /config status: expected a `location` in headers with this status, or `redirect`/,
    );
    assert.equal(run("respond", { status: 301, headers: { Location: "/" } }, exchange(GET)).localStatus, 301);
    refuses("respond", { headers: { "content-length": "1" } }, /config headers: .* not "content-length"/);
    refuses("respond", { headers: { a: "x\r\ny: z" } }, /config headers\.a: expected a header value/);
    refuses("respond", { text: "x" }, /config text: unknown key, expected one of status, body, headers/);
  });
});

describe("redirect", () => {
  const GET = "GET /a/b?c=1 HTTP/1.1\nHost: Example.com:8080";
  const cases: [config: Record<string, unknown>, request: string, expected: string][] = [
    [{ https: true }, GET, "302 https://Example.com/a/b?c=1"],
    [{ https: true, status: 308 }, "GET / HTTP/1.1\nHost: a", "308 https://a/"],
    [{ host: "www.example.com" }, GET, "302 http://www.example.com/a/b?c=1"],
    [{ host: "example.com:8080" }, GET, "0 undefined"],
    [{ host: "example.com" }, GET, "0 undefined"],
    [{ host: "example.com:80" }, GET, "302 http://example.com:80/a/b?c=1"],
    [{ to: "/new{path}{query}" }, GET, "302 /new/a/b?c=1"],
    [{ to: "https://{host}{path}" }, GET, "302 https://Example.com/a/b"],
    [{ to: "{scheme}://x{query}" }, GET, "302 http://x?c=1"],
    [{ https: true }, "OPTIONS * HTTP/1.1\nHost: a:80", "302 https://a"],
    [{ host: "b", status: 307 }, "OPTIONS * HTTP/1.1\nHost: a", "307 http://b"],
    [{ to: "/new{path}{query}" }, "OPTIONS * HTTP/1.1\nHost: a", "302 /new"],
    [{ to: "{path}" }, "OPTIONS * HTTP/1.1\nHost: a", "0 undefined"],
    [{ to: "{path}" }, "GET //evil.example/x HTTP/1.1\nHost: a", "302 /evil.example/x"],
    [{ to: "/{path}" }, "GET /evil.example HTTP/1.1\nHost: a", "302 /evil.example"],
    // Without a host in HTTP/1.0.
    [{ https: true }, "GET /evil.example HTTP/1.0", "400 undefined"],
    [{ to: "https://{host}{path}" }, "GET /evil.example HTTP/1.0", "400 undefined"],
    [{ to: "https://b{path}" }, "GET /c HTTP/1.0", "302 https://b/c"],
    [{ host: "b" }, "GET /c HTTP/1.0", "302 http://b/c"],
    [{ host: "[::1]:80" }, "GET /c HTTP/1.0", "302 http://[::1]:80/c"],
    [{ host: "[::1]" }, "GET /c HTTP/1.0", "302 http://[::1]/c"],
    // The request that follows a redirect has its host in the form that clients send.
    ...["[0:0::1]", "[::1]", "[0:0::1]:80", "[::0001]"].map((host): (typeof cases)[number] => [
      { host },
      "GET /c HTTP/1.1\nHost: [::1]",
      "0 undefined",
    ]),
    [{ host: "example.com." }, "GET /c HTTP/1.1\nHost: EXAMPLE.com", "0 undefined"],
    [{ host: "example.com" }, "GET /c HTTP/1.1\nHost: example.com.:81", "0 undefined"],
    [{ host: "example.com:80" }, "GET /c HTTP/1.1\nHost: example.com", "0 undefined"],
    [{ host: "example.com:80" }, "GET /c HTTP/1.1\nHost: example.com:80", "0 undefined"],
    [{ host: "example.com:443", https: true }, "GET /c HTTP/1.1\nHost: example.com", "302 https://example.com:443/c"],
    [{ host: "[::2]" }, "GET /c HTTP/1.1\nHost: [::1]", "302 http://[::2]/c"],
    [{ host: "[::1]:81" }, "GET /c HTTP/1.1\nHost: [::1]", "302 http://[::1]:81/c"],
    [{ host: "127.0.0.1" }, "GET /c HTTP/1.1\nHost: 127.0.0.1:9", "0 undefined"],
  ];
  for (const [config, request, expected] of cases) {
    test(`${JSON.stringify(config)}: ${request.split(" ")[1]} → ${expected}`, () => {
      const on = run("redirect", config, exchange(request));
      assert.equal(`${on.localStatus} ${on.localStatus ? responseHeader(on, "location") : undefined}`, expected);
    });
  }

  test("rejects an invalid redirect", () => {
    refuses("redirect", {}, /config to: expected one of to, https and host, found nothing/);
    refuses("redirect", { status: 303, https: true }, /config status: expected 301, 302, 307 or 308, found "303"/);
    refuses("redirect", { to: "x" }, /config to: expected a target that starts with/);
    refuses("redirect", { to: "/{port}" }, /config to: expected only .* in braces, found "\/\{port\}"/);
    refuses("redirect", { to: "/a\r\nb" }, /config to: expected printable ASCII/);
    refuses("redirect", { to: "/", https: true }, /config to: expected either to, or https and host/);
    for (const host of [
      "a/b",
      "::1",
      "[::1",
      "[::1]a",
      "a]b[",
      "a:b:c",
      ":80",
      "a:",
      "a:0",
      "a:99999",
      "[a]",
      "127.1",
      "a.0x7f",
      "1",
    ])
      refuses("redirect", { host }, /config host: expected a host name/);
  });
});
