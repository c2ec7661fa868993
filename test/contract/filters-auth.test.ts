/** The built-in filters for access control: api-key, basic-auth, jwt, ip-filter; and cors and fault. */
import assert from "node:assert/strict";
import { createHash, createHmac, generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { parse } from "yaml";
import { HOOK } from "../../src/abi/abi.ts";
import { readPluginSchema } from "../../src/config/plugin-schema.ts";
import { BUILTIN_NAMESPACES, BUILTINS } from "../../src/config/schema.ts";
import { PART } from "../../src/http/head.ts";
import { OUTCOME } from "../../src/plugin/host/host.ts";
import type { Exchange } from "../../src/proxy/exchange.ts";
import { fieldsOf } from "../unit/plugin/kit.ts";
import { builtIn, exchange, load } from "./plugin-harness.ts";

/** The exchange after the hooks for request and response. As in the proxy, a plugin that responds does not see its own response. */
function run(name: string, config: unknown, on: Exchange): Exchange {
  const loaded = load(builtIn(name), { configs: [config] });
  try {
    const instance = loaded.instances[0]!;
    for (const hook of [HOOK.request_head, HOOK.response_head])
      if ((instance.hooks >>> hook) & 1 && on.localStatus === 0)
        assert.notEqual(instance.call(hook, on), OUTCOME.failed, loaded.reports.join("\n"));
    return on;
  } finally {
    loaded.dispose();
  }
}

function refuses(name: string, config: unknown, message: RegExp): void {
  assert.throws(() => load(builtIn(name), { configs: [config] }).dispose(), { message });
}

/** Empty lines would end the head. */
const request = (headers = "", line = "GET / HTTP/1.1") => exchange(`${line}\nHost: a\n${headers.replace(/^\n/, "")}`);
const sent = (on: Exchange, name: string) => on.request.get(name);
const responseHeader = (on: Exchange, name: string) => on.response.get(name);
const sha256 = (text: string) => createHash("sha256").update(text).digest("hex");

describe("api-key", () => {
  const config = { keys: { alice: "correct-horse-battery", build: `sha256:${sha256("another-long-key")}` } };
  const pass = (headers: string, more = {}, line?: string) =>
    run("api-key", { ...config, ...more }, request(headers, line));

  test("forwards the key's owner, and removes the key", () => {
    for (const [key, name] of [
      ["correct-horse-battery", "alice"],
      ["another-long-key", "build"],
    ]) {
      const on = pass(`X-Api-Key: ${key}\nX-Consumer: forged`);
      assert.equal(on.localStatus, 0);
      assert.equal(sent(on, "x-consumer"), name);
      assert.equal(sent(on, "x-api-key"), undefined);
    }
    assert.equal(sent(pass("X-Api-Key: correct-horse-battery", { keep: true }), "x-api-key"), "correct-horse-battery");
    const other = "X-Api-Key: correct-horse-battery\nX_Api_Key: root\nx.api.key: root";
    assert.deepEqual(fieldsOf(pass(other).request), ["Host: a", "x-consumer: alice"]);
    const kept = ["Host: a", "x-api-key: correct-horse-battery", "x-consumer: alice"];
    assert.deepEqual(fieldsOf(pass(other, { keep: true }).request), kept);
  });

  test("responds 401 without a key, with a wrong one and with two", () => {
    const fields = [
      "",
      "X-Api-Key: correct-horse-batterx",
      "X-Api-Key: correct-horse-battery\nX-Api-Key: x",
      "X-Api-Key:",
    ];
    for (const headers of [...fields, `X-Api-Key: sha256:${sha256("another-long-key")}`]) {
      const on = pass(`${headers}\nX-Consumer: alice`);
      assert.equal(on.localStatus, 401, headers);
      assert.equal(responseHeader(on, "www-authenticate"), "ApiKey");
      assert.equal(sent(on, "x-consumer"), undefined);
    }
  });

  test("reads it from another header, or from the query", () => {
    assert.equal(sent(pass("Key: correct-horse-battery", { header: "key", forward: "x-who" }), "x-who"), "alice");
    const query = (target: string, more = {}) => pass("", { query: "key", ...more }, `GET ${target} HTTP/1.1`);
    const on = query("/x?a=1&key=correct-horse-battery&b=%7e");
    assert.equal(sent(on, "x-consumer"), "alice");
    assert.equal(on.request.partText(PART.query), "a=1&b=%7e");
    assert.equal(
      query("/x?key=correct-horse-battery", { keep: true }).request.partText(PART.query),
      "key=correct-horse-battery",
    );
    for (const target of [
      "/x",
      "/x?key=",
      "/x?key=%E2%98%83",
      "/x?key=correct-horse-battery&key=correct-horse-battery",
    ])
      assert.equal(query(target).localStatus, 401, target);
  });

  test("rejects a configuration with guessable keys, and does not print them", () => {
    refuses("api-key", {}, /config keys: expected at least one key/);
    refuses(
      "api-key",
      { keys: { a: "secret-word" } },
      /^(?!.*secret-word).*config keys\.a: expected a key of at least 16/s,
    );
    refuses("api-key", { keys: { a: "sha256:00" } }, /config keys\.a: expected 64 hexadecimal digits/);
    refuses("api-key", { keys: { "a\n": "x".repeat(20) } }, /config keys: expected names of printable ASCII/);
    refuses("api-key", { ...config, header: "connection" }, /config header: expected a header that may be set/);
    refuses("api-key", { ...config, header: "a", query: "b" }, /config query: expected either header or query/);
  });
});

describe("basic-auth", () => {
  const salted = createHmac("sha256", Buffer.from("7361", "hex")).update("pässword").digest("hex");
  const config = {
    realm: "Staging",
    users: { alice: `sha256:${sha256("open:sesame")}`, bob: `hmac-sha256:7361:${salted}` },
  };
  const pass = (headers: string, more = {}) => run("basic-auth", { ...config, ...more }, request(headers));
  const basic = (text: string) => `Authorization: Basic ${Buffer.from(text).toString("base64")}`;

  test("forwards the name, and removes the password", () => {
    for (const [text = "", name] of [
      ["alice:open:sesame", "alice"],
      ["bob:pässword", "bob"],
    ]) {
      const on = pass(`${basic(text)}\nX-User: forged`);
      assert.equal(on.localStatus, 0, text);
      assert.equal(sent(on, "x-user"), name);
      assert.equal(sent(on, "authorization"), undefined);
    }
    assert.equal(sent(pass(basic("alice:open:sesame").replace("Basic", "bASIC")), "x-user"), "alice");
    assert.equal(
      `Authorization: ${sent(pass(basic("alice:open:sesame"), { keep: true }), "authorization")}`,
      basic("alice:open:sesame"),
    );
  });

  test("responds 401 to others, with the realm", () => {
    const fields = [
      "",
      basic("alice:wrong"),
      basic("bob:open:sesame"),
      basic("carl:open:sesame"),
      basic("alice"),
      basic(":"),
      basic(""),
    ];
    fields.push(
      "Authorization: Basic ====",
      "Authorization: Bearer x",
      `${basic("alice:open:sesame")}\n${basic("bob:pässword")}`,
    );
    fields.push(`${basic("alice:open:sesame")} x`, basic("alice\u0000:open:sesame"));
    for (const headers of fields) {
      const on = pass(`${headers}\nX-User: alice`);
      assert.equal(on.localStatus, 401, headers);
      assert.equal(responseHeader(on, "www-authenticate"), 'Basic realm="Staging", charset="UTF-8"');
      assert.equal(sent(on, "x-user"), undefined);
    }
  });

  test("rejects an invalid hash, and does not print it", () => {
    refuses("basic-auth", { users: {} }, /config users: expected at least one user/);
    for (const hash of [
      "hunter2",
      "sha256:00",
      `md5:${"0".repeat(32)}`,
      `hmac-sha256::${"0".repeat(64)}`,
      `hmac-sha256:zz:${"0".repeat(64)}`,
    ])
      refuses(
        "basic-auth",
        { users: { a: hash } },
        /^(?!.*hunter2).*config users\.a: expected sha256:HASH or hmac-sha256:SALT:HASH/s,
      );
    refuses("basic-auth", { users: { "a:b": `sha256:${sha256("x")}` } }, /without a colon/);
    refuses(
      "basic-auth",
      { ...config, realm: 'a"b' },
      /config realm: expected printable ASCII without quotation marks/,
    );
  });
});

const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 });
const ec = generateKeyPairSync("ec", { namedCurve: "P-256" });
const ed = generateKeyPairSync("ed25519");
const SECRET = "a secret of thirty-two bytes or more";
const pem = (key: KeyObject) => key.export({ type: "spki", format: "pem" }) as string;
const part = (value: unknown) =>
  Buffer.from(typeof value === "string" ? value : JSON.stringify(value)).toString("base64url");

function signatureOf(alg: string, text: string): Buffer {
  const data = Buffer.from(text);
  if (alg === "HS256") return createHmac("sha256", SECRET).update(data).digest();
  if (alg === "EdDSA") return sign(null, data, ed.privateKey);
  if (alg === "ES256") return sign("sha256", data, { key: ec.privateKey, dsaEncoding: "ieee-p1363" });
  return sign("sha256", data, alg === "PS256" ? { key: rsa.privateKey, padding: 6, saltLength: 32 } : rsa.privateKey);
}

const later = () => Math.floor(Date.now() / 1000) + 600;
function token(alg: string, claims: unknown = {}, header: object = {}): string {
  const body = typeof claims === "string" ? claims : { exp: later(), ...(claims as object) };
  const text = `${part({ alg, ...header })}.${part(body)}`;
  return `${text}.${signatureOf(alg, text).toString("base64url")}`;
}

describe("jwt", () => {
  const keys = [
    { alg: "RS256", kid: "r", key: pem(rsa.publicKey) },
    { alg: "PS256", key: pem(rsa.publicKey) },
    { alg: "ES256", key: JSON.stringify(ec.publicKey.export({ format: "jwk" })) },
    { alg: "EdDSA", key: { ...ed.publicKey.export({ format: "jwk" }), use: "sig", key_ops: ["verify"], kid: "e" } },
    { alg: "HS256", secret: SECRET },
  ];
  const pass = (text: string, more = {}, field = `Authorization: Bearer ${text}`) =>
    run("jwt", { keys, ...more }, request(field));
  const fault = (on: Exchange) => /error_description="(.*)"/.exec(responseHeader(on, "www-authenticate") ?? "")?.[1];

  for (const alg of ["RS256", "PS256", "ES256", "EdDSA", "HS256"])
    test(`${alg}: accepts a validly signed token, and no other`, () => {
      const good = token(alg);
      assert.equal(pass(good).localStatus, 0);
      const [header, , signature] = good.split(".");
      const other = `${header}.${part({ exp: later(), sub: "root" })}.${signature}`;
      assert.equal(fault(pass(other)), "its signature is not valid for any known key");
      assert.equal(pass(good.slice(0, good.lastIndexOf(".") + 1)).localStatus, 401);
      assert.equal(
        run("jwt", { keys: keys.filter((key) => key.alg !== alg) }, request(`Authorization: Bearer ${good}`))
          .localStatus,
        401,
      );
    });

  test("a key is used only for its own algorithm, independent of the token", () => {
    // The public key as an HMAC secret; no algorithm at all.
    const text = `${part({ alg: "HS256" })}.${part({ exp: later() })}`;
    const confused = `${text}.${createHmac("sha256", pem(rsa.publicKey)).update(text).digest("base64url")}`;
    assert.equal(run("jwt", { keys: [keys[0]] }, request(`Authorization: Bearer ${confused}`)).localStatus, 401);
    for (const alg of ["none", "None", "", 1, null, undefined]) {
      const unsigned = `${part({ alg })}.${part({ exp: later() })}.`;
      assert.equal(fault(pass(unsigned)), "its signature is not valid for any known key");
    }
  });

  test("a token names its key; one that names none is tried with each", () => {
    const more = { keys: [keys[0]] };
    assert.equal(pass(token("RS256", {}, { kid: "r" }), more).localStatus, 0);
    assert.equal(pass(token("RS256"), more).localStatus, 0);
    assert.equal(pass(token("RS256", {}, { kid: "s" }), more).localStatus, 401);
    assert.equal(pass(token("EdDSA", {}, { kid: "x" })).localStatus, 401);
    assert.equal(pass(token("HS256", {}, { kid: "x" })).localStatus, 0);
  });

  test("times are checked, with leeway", () => {
    const time = Math.floor(Date.now() / 1000);
    const cases: [claims: object, more: object, expected: string | undefined][] = [
      [{ exp: time + 60 }, {}, undefined],
      [{ exp: time - 20 }, {}, undefined],
      [{ exp: time - 20 }, { leeway: 0 }, "it has expired"],
      [{ exp: time - 60 }, {}, "it has expired"],
      [{ exp: "soon" }, {}, "it has expired"],
      [{ exp: null }, {}, "it has expired"],
      [{ exp: undefined }, {}, "it has no expiry"],
      [{ exp: undefined }, { expires: false }, undefined],
      [{ exp: time - 60 }, { expires: false }, "it has expired"],
      [{ nbf: time + 20 }, {}, undefined],
      [{ nbf: time + 60 }, {}, "it is not valid yet"],
      [{ nbf: "1" }, {}, "it is not valid yet"],
    ];
    for (const [claims, more, expected] of cases)
      assert.equal(fault(pass(token("HS256", claims), more)), expected, JSON.stringify(claims));
  });

  test("issuer and audience are checked", () => {
    const more = { issuer: "https://id.example", audience: ["api", "web"] };
    const cases: [claims: object, expected: string | undefined][] = [
      [{ iss: "https://id.example", aud: "api" }, undefined],
      [{ iss: "https://id.example", aud: ["x", "web"] }, undefined],
      [{ iss: "https://id.example", aud: ["x"] }, "it is for another audience"],
      [{ iss: "https://id.example", aud: [["api"]] }, "it is for another audience"],
      [{ iss: "https://id.example" }, "it is for another audience"],
      [{ iss: "https://id.example/", aud: "api" }, "it is from another issuer"],
      [{ iss: ["https://id.example"], aud: "api" }, "it is from another issuer"],
      [{ aud: "api" }, "it is from another issuer"],
    ];
    for (const [claims, expected] of cases)
      assert.equal(fault(pass(token("ES256", claims), more)), expected, JSON.stringify(claims));
  });

  test("claims are forwarded as headers; the client's headers of these names are not", () => {
    const claims = {
      "x-user": "sub",
      "x-roles": "realm.roles",
      "x-level": "level",
      "x-none": "none",
      "x-raw": "realm",
    };
    const good = token("HS256", { sub: "zoë", realm: { roles: ["a", "b"] }, level: 3, none: null });
    const on = pass("", { claims }, `Authorization: Bearer ${good}\nX-User: root\nX-None: forged`);
    assert.equal(on.localStatus, 0);
    assert.equal(Buffer.from(sent(on, "x-user")!, "latin1").toString(), "zoë");
    assert.deepEqual([sent(on, "x-roles"), sent(on, "x-level"), sent(on, "x-none")], ["a,b", "3", undefined]);
    assert.equal(sent(on, "x-raw"), '{"roles":["a","b"]}');
    const evil = pass(token("HS256", { sub: "a\r\nx-admin: 1" }), { claims });
    assert.equal(fault(evil), "one of its claims contains control characters");
    assert.equal(sent(pass("x", { claims }, "X-User: root"), "x-user"), undefined);
  });

  test("claims named by a URL or with dots are found, and one that could be two by an escape", () => {
    const claims = {
      "x-tenant": "https://example.com/tenant",
      "x-space": "kubernetes.io.namespace",
      "x.role": "realm.role",
      "x-flat": "realm\\.role",
      "x-none": "https://example.com/none",
    };
    const good = token("HS256", {
      "https://example.com/tenant": "acme",
      "kubernetes.io": { namespace: "prod" },
      realm: { role: "admin" },
      "realm.role": "flat",
    });
    const on = pass(good, { claims });
    const values = Object.keys(claims).map((name) => sent(on, name));
    assert.deepEqual(values, ["acme", "prod", "admin", "flat", undefined]);
  });

  test("is found in a cookie, and removed unless keep is set", () => {
    const good = token("HS256");
    const cookie = pass("", { cookie: "session", keep: false }, `Cookie: a=1; session=${good}`);
    assert.equal(cookie.localStatus, 0);
    assert.equal(sent(cookie, "cookie"), "a=1");
    assert.equal(sent(pass(good, { keep: false }), "authorization"), undefined);
    assert.equal(sent(pass(good, { keep: "false" }), "authorization"), undefined, "the text of a variable");
    assert.equal(sent(pass(good), "authorization"), `Bearer ${good}`);
    assert.equal(pass(good, { cookie: "session" }).localStatus, 401);
  });

  test("an invalid token is rejected, and distinguished from none", () => {
    for (const field of [
      "X: y",
      "Authorization: Basic x",
      `Authorization: Bearer ${token("HS256")}\nAuthorization: Bearer x`,
    ]) {
      const on = pass("", {}, field);
      assert.deepEqual([on.localStatus, responseHeader(on, "www-authenticate")], [401, "Bearer"], field);
    }
    const good = token("HS256");
    const texts = [
      "",
      "a",
      "a.b",
      "..",
      good.replace(".", "=."),
      `${good}.x`,
      `${good}=`,
      `${part("[]")}.${part({})}.AA`,
      `${part("{")}.e30.AA`,
    ];
    for (const text of texts) assert.equal(pass(text).localStatus, 401, text);
    assert.equal(fault(pass(token("HS256", {}, { crit: ["b64"], b64: false }))), "it has critical extensions");
    assert.equal(fault(pass(token("HS256", "[1]"))), "it is malformed");
    assert.equal(fault(pass(token("HS256", '{"exp":9999999999}{'))), "it is malformed");
  });

  test("rejects invalid, weak and private keys and those for another use, and does not show secrets", () => {
    const key = (more: object) => ({ keys: [more] });
    refuses("jwt", {}, /config keys: expected at least one key/);
    refuses(
      "jwt",
      key({ alg: "HS256", secret: "hunter2" }),
      /^(?!.*hunter2).*config keys\.0\.secret: expected at least 32 bytes/s,
    );
    refuses("jwt", key({ alg: "HS256", key: pem(rsa.publicKey) }), /HS256 requires secret, not key/);
    refuses("jwt", key({ alg: "RS256", secret: SECRET }), /RS256 requires key, not secret/);
    refuses("jwt", key({ alg: "none", key: pem(rsa.publicKey) }), /expected alg RS256, .* found alg none/);
    refuses(
      "jwt",
      key({ alg: "ES256", key: pem(rsa.publicKey) }),
      /a matching public key as PEM or JWK, found alg ES256/,
    );
    refuses("jwt", key({ alg: "EdDSA", key: ed.privateKey.export({ format: "jwk" }) }), /a matching public key/);
    refuses("jwt", { keys, claims: { host: "sub" } }, /config claims: expected headers that may be set, not "host"/);
    refuses("jwt", { keys, leeway: 3600 }, /config leeway: expected 0 to 300 seconds/);
    refuses("jwt", { keys, audience: [] }, /config audience: expected at least one/);
  });
});

describe("ip-filter", () => {
  function from(address: string, config: unknown): number {
    const on = request();
    on.clientAddress = address;
    return run("ip-filter", config, on).localStatus;
  }

  test("admits addresses that are allowed and not denied", () => {
    const config = { allow: ["10.0.0.0/8", "2001:db8::/32", "192.0.2.7"], deny: ["10.9.0.0/16"], status: 404 };
    for (const address of ["10.1.2.3", "2001:db8::1", "192.0.2.7", "::ffff:10.1.2.3"])
      assert.equal(from(address, config), 0, address);
    for (const address of ["10.9.0.1", "11.0.0.1", "::1", "192.0.2.8", "", "unix"])
      assert.equal(from(address, config), 404, address);
    assert.equal(from("203.0.113.1", { deny: "203.0.113.0/24" }), 403);
    assert.equal(from("203.0.114.1", { deny: "203.0.113.0/24" }), 0);
  });

  test("denies an invalid address", () => {
    const config = { deny: ["fe80::/10", "10.0.0.0/8"] };
    for (const address of ["fe80::1%eth0", "fe80::1", "10.01.0.1", "::ffff:10.0.0.1", "::ffff:a00:1", "unknown", ""])
      assert.equal(from(address, config), 403, address);
    for (const address of ["2001:db8::1", "192.0.2.1"]) assert.equal(from(address, config), 0, address);
  });

  test("rejects an invalid network, and lists that would admit all addresses by mistake", () => {
    refuses("ip-filter", {}, /config allow: expected at least one of allow and deny/);
    refuses("ip-filter", { allow: [] }, /config allow: expected at least one network/);
    refuses(
      "ip-filter",
      { allow: ["10.0.0.1/8"] },
      /config allow: expected a network or an address, found "10\.0\.0\.1\/8" \(bits after/,
    );
    refuses(
      "ip-filter",
      { deny: ["example.com"] },
      /config deny: expected a network or an address, found "example\.com" \(ip-filter/,
    );
    refuses("ip-filter", { deny: ["10.0.0.1"], status: 500 }, /config status: expected 400 to 499/);
  });
});

describe("fault", () => {
  test("responds to its share of requests, and passes the others", () => {
    const none = run("fault", { abort: { percent: 0 } }, request());
    assert.equal(none.localStatus, 0);
    const all = run("fault", { abort: { percent: 100, status: 429, body: "slow down" } }, request());
    assert.deepEqual(
      [all.localStatus, String(all.localBody), responseHeader(all, "x-fault")],
      [429, "slow down", "abort"],
    );
    const loaded = load(builtIn("fault"), { configs: [{ abort: { percent: 25 } }] });
    let aborted = 0;
    for (let i = 0; i < 4000; i++)
      if (loaded.instances[0]!.call(HOOK.request_head, request()) === OUTCOME.respond) aborted++;
    loaded.dispose();
    // Ten standard deviations.
    assert.ok(aborted > 725 && aborted < 1275, `${aborted}`);
  });

  test("rejects invalid shares and statuses", () => {
    refuses("fault", {}, /config abort\.percent: expected a number, found nothing/);
    refuses("fault", { abort: { percent: 101 } }, /config abort\.percent: expected 0 to 100/);
    refuses("fault", { abort: { percent: 1, status: 200 } }, /config abort\.status: expected 400 to 599/);
    refuses("fault", { delay: {} }, /config delay: unknown key/);
  });
});

describe("cors", () => {
  const config = {
    origins: ["https://app.example.com", "https://*.example.org:8443"],
    credentials: true,
    expose: ["x-id"],
  };
  const OK = "HTTP/1.1 200 OK\nAccess-Control-Allow-Origin: *\nVary: Accept";
  const get = (origin: string | null, more = {}, response = OK) =>
    run(
      "cors",
      { ...config, ...more },
      exchange(`GET / HTTP/1.1\nHost: a${origin === null ? "" : `\nOrigin: ${origin}`}`, response),
    );
  const preflight = (origin: string, more = {}, headers = "") =>
    run(
      "cors",
      { ...config, ...more },
      request(`Origin: ${origin}\nAccess-Control-Request-Method: PUT${headers}`, "OPTIONS /x HTTP/1.1"),
    );

  test("allows the configured sites to read responses, and drops the upstream's own headers", () => {
    for (const origin of ["https://app.example.com", "https://a.example.org:8443", "https://a.b.example.org:8443"]) {
      const on = get(origin);
      assert.equal(responseHeader(on, "access-control-allow-origin"), origin);
      assert.equal(responseHeader(on, "access-control-allow-credentials"), "true");
      assert.equal(responseHeader(on, "access-control-expose-headers"), "x-id");
    }
    const others = [
      "https://app.example.com.evil.example",
      "http://app.example.com",
      "https://app.example.com:444",
      "https://example.org:8443",
      "https://.example.org:8443x",
    ];
    others.push(
      "https://evil.example/.example.org:8443",
      "https://evil.example:1.example.org:8443",
      "null",
      "https://APP.example.com",
      "https://evil@a.example.org:8443",
    );
    for (const origin of [...others, null])
      assert.equal(responseHeader(get(origin), "access-control-allow-origin"), undefined, `${origin}`);
  });

  test("sets Vary: Origin on every response", () => {
    const varies = ({ response }: Exchange) =>
      fieldsOf(response).flatMap((field) => /^vary: (.*)$/i.exec(field)?.slice(1) ?? []);
    assert.deepEqual(varies(get("https://app.example.com")), ["Accept", "origin"]);
    assert.deepEqual(varies(get(null)), ["Accept", "origin"]);
    assert.deepEqual(varies(get(null, {}, "HTTP/1.1 200 OK\nVary: accept, ORIGIN")), ["accept, ORIGIN"]);
    assert.deepEqual(varies(get(null, {}, "HTTP/1.1 200 OK\nVary: *")), ["*"]);
    assert.deepEqual(varies(get("https://x.y", { origins: ["*"], credentials: false })), ["Accept"]);
  });

  test("with every site, the response is the same for all", () => {
    const on = get("https://x.y", { origins: ["*"], credentials: false });
    assert.equal(responseHeader(on, "access-control-allow-origin"), "*");
    assert.equal(responseHeader(on, "access-control-allow-credentials"), undefined);
  });

  test("responds to preflights", () => {
    const on = preflight(
      "https://app.example.com",
      { methods: ["GET", "PUT"], headers: ["content-type", "x-a"], maxAge: 60 },
      "\nAccess-Control-Request-Headers: x-b",
    );
    assert.equal(on.localStatus, 204);
    assert.equal(responseHeader(on, "access-control-allow-origin"), "https://app.example.com");
    assert.equal(responseHeader(on, "access-control-allow-methods"), "GET, PUT");
    assert.equal(responseHeader(on, "access-control-allow-headers"), "content-type, x-a");
    assert.equal(responseHeader(on, "access-control-allow-credentials"), "true");
    assert.equal(responseHeader(on, "access-control-max-age"), "60");
    assert.equal(responseHeader(on, "vary"), "origin, access-control-request-method, access-control-request-headers");
    // `*` would not cover Authorization, nor anything with credentials.
    const any = preflight(
      "https://app.example.com",
      { headers: ["*"] },
      "\nAccess-Control-Request-Headers: authorization,x-b",
    );
    assert.equal(responseHeader(any, "access-control-allow-headers"), "authorization,x-b");
    const refused = preflight("https://evil.example");
    assert.deepEqual([refused.localStatus, responseHeader(refused, "access-control-allow-origin")], [403, undefined]);
  });

  test("an OPTIONS request that is not a preflight is forwarded", () => {
    assert.equal(run("cors", config, request("Origin: https://app.example.com", "OPTIONS / HTTP/1.1")).localStatus, 0);
    assert.equal(
      run("cors", config, request("Access-Control-Request-Method: PUT", "OPTIONS / HTTP/1.1")).localStatus,
      0,
    );
    assert.equal(
      run("cors", config, request("Origin: https://app.example.com\nAccess-Control-Request-Method: PUT")).localStatus,
      0,
    );
  });

  test("rejects a configuration that allows more than it states", () => {
    refuses("cors", {}, /config origins: expected at least one origin/);
    refuses("cors", { origins: ["*"], credentials: true }, /config credentials: expected false with origins/);
    for (const origin of [
      "null",
      "example.com",
      "https://a/",
      "https://a/x",
      "https://*",
      "https://a*.b",
      "https://*.",
      "HTTPS://a",
      "https://a:443",
    ])
      refuses("cors", { origins: [origin] }, /config origins: expected https:\/\/host/);
    refuses("cors", { origins: ["https://a"], methods: ["GET POST"] }, /config methods: expected a list of names/);
    refuses("cors", { origins: ["https://a"], expose: ["*"] }, /config expose: expected a list of names/);
    refuses("cors", { origins: ["https://a"], maxAge: -1 }, /config maxAge/);
  });
});

test("the guide's examples are accepted unchanged", () => {
  const guide = readFileSync(join(import.meta.dirname, "../../docs/filters.md"), "utf8");
  const named = new Set<string>();
  for (const [, block] of guide.matchAll(/```yaml\n([\s\S]*?)```/g)) {
    const chain = parse(block!.replaceAll(/\$\{\w+\}/g, "0123456789abcdef".repeat(4))) as unknown;
    // Whole files are checked with the program (docs.test.ts).
    if (!Array.isArray(chain)) continue;
    for (const use of chain as (string | object)[])
      for (const [name, config] of typeof use === "string" ? [[use, null] as const] : Object.entries(use)) {
        named.add(name);
        const schema = join(import.meta.dirname, `../../plugins/${name}.schema.json`);
        const problems = readPluginSchema(readFileSync(schema, "utf8"), schema).problems;
        assert.deepEqual(problems, [], name);
        load(builtIn(name), {
          configs: [config],
          clusters: ["auth"],
          namespaces: BUILTIN_NAMESPACES[name] ?? [],
        }).dispose();
      }
  }
  const filters = Object.keys(BUILTINS).filter((name) => BUILTINS[name] === "filter");
  assert.deepEqual([...named].sort(), filters.sort());
});
