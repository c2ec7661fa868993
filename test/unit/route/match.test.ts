import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { ValueTable } from "../../../src/config/schema.ts";
import { nameId } from "../../../src/http/fields.ts";
import { Head, PART } from "../../../src/http/head.ts";
import { normalizePath } from "../../../src/http/target.ts";
import type { MatchPlan } from "../../../src/plan/plan.ts";
import { type MatchInput, Router } from "../../../src/route/match.ts";

type Request = {
  scheme?: "http" | "https";
  client?: string;
  sni?: string;
  method?: string;
  host?: string;
  path?: string;
  query?: string;
  headers?: readonly (readonly [name: string, value: string])[];
};

function makeHead({ method = "GET", host = "example.com", path = "/", query = "", headers = [] }: Request): Head {
  const head = new Head();
  const put = (part: number, text: string) => {
    const bytes = Buffer.from(text, "latin1");
    head.setPart(part, bytes, 0, bytes.length);
  };
  put(PART.method, method);
  put(PART.authority, host);
  put(PART.path, path);
  put(PART.query, query);
  for (const [name, value] of headers) {
    const bytes = Buffer.from(name, "latin1");
    head.add(bytes, Buffer.from(value), nameId(bytes, 0, bytes.length));
  }
  return head;
}

function makeInput(request: Request): MatchInput {
  const { scheme = "http", client = "192.0.2.1", sni } = request;
  return inputOf(makeHead(request), scheme, client, sni);
}

function inputOf(
  request: Head,
  scheme: "http" | "https" = "http",
  clientAddress = "",
  serverName?: string,
): MatchInput {
  return { request, scheme, clientAddress, tls: serverName === undefined ? null : { serverName } };
}

function doubtful(path: string): Head {
  const head = makeHead({ path });
  normalizePath(head);
  return head;
}

function matches(match: MatchPlan, request: Request): boolean {
  return new Router([{ match }]).match(makeInput(request), 0) === 0;
}

test("an empty match applies to every request", () => {
  assert.ok(matches({}, {}));
  assert.ok(matches({}, { host: "", path: "*", method: "OPTIONS" }));
});

test("the scheme is that of the request", () => {
  assert.ok(matches({ scheme: "https", path: "/" }, { scheme: "https" }));
  assert.ok(!matches({ scheme: "https" }, { scheme: "http" }));
  assert.ok(matches({ scheme: "http" }, {}));
  const router = new Router([{ match: { scheme: "http", prefix: "/a/" } }, { match: {} }]);
  assert.equal(router.findRival(inputOf(doubtful("//a/"), "https"), 0, 1), null, "readings compare it too");
  assert.equal(router.findRival(inputOf(doubtful("//a/")), 0, 1)?.route, 0);
});

test("the host is compared without port, case and closing dot", () => {
  for (const host of ["example.com", "EXAMPLE.com", "example.com:8080", "example.com.", "example.com.:80"])
    assert.ok(matches({ host: "example.com" }, { host }), host);
  for (const host of ["", "xexample.com", "example.com.evil", "example.co", "a.example.com", ":80", "."])
    assert.ok(!matches({ host: "example.com" }, { host }), host);
  assert.ok(matches({ host: "[::1]" }, { host: "[::1]:8080" }));
  assert.ok(!matches({ host: "[::1]" }, { host: "[::2]:8080" }));
  assert.ok(!matches({ host: "[::1]" }, { host: "[::1" }));
});

test("a leading *. matches one or more labels, never none", () => {
  const match = { host: "*.example.com" };
  for (const host of ["a.example.com", "a.b.example.com:80", "A.EXAMPLE.COM"])
    assert.ok(matches(match, { host }), host);
  for (const host of ["example.com", ".example.com", "aexample.com", "a.example.com.evil.org"])
    assert.ok(!matches(match, { host }), host);
});

test("path is the whole path, prefix its first bytes, regex all of it", () => {
  assert.ok(matches({ path: "/a" }, { path: "/a", query: "b=1" }));
  assert.ok(!matches({ path: "/a" }, { path: "/a/" }));
  assert.ok(!matches({ path: "/a" }, { path: "/A" }));
  assert.ok(matches({ prefix: "/api" }, { path: "/apix" }));
  assert.ok(!matches({ prefix: "/api/" }, { path: "/apix" }));
  assert.ok(!matches({ prefix: "/api/" }, { path: "/api" }));
  assert.ok(matches({ regex: "/v[12]/.*" }, { path: "/v2/x" }));
  assert.ok(!matches({ regex: "/v[12]/" }, { path: "/v2/x" }), "the end is anchored");
  assert.ok(!matches({ regex: "v2/x|x" }, { path: "/v2/x" }), "the beginning is anchored");
});

test("a regular expression that is exponential in backtracking engines takes linear time", () => {
  // A backtracking engine needs about 2^30 steps for this, and the test would not end.
  assert.ok(!matches({ regex: "/(a+)+b" }, { path: `/${"a".repeat(5000)}` }));
});

test("a method is one of those listed, in their case", () => {
  assert.ok(matches({ method: ["GET", "POST"] }, { method: "POST" }));
  assert.ok(!matches({ method: ["GET", "POST"] }, { method: "PUT" }));
  assert.ok(!matches({ method: ["GET"] }, { method: "get" }));
  assert.ok(!matches({ method: ["GET"] }, { method: "GETS" }));
});

test("a header matches when any field of that name has exactly the value", () => {
  const match = { headers: { "x-beta": "1" } };
  assert.ok(matches(match, { headers: [["X-Beta", "1"]] }));
  assert.ok(
    matches(match, {
      headers: [
        ["x-beta", "0"],
        ["x-beta", "1"],
      ],
    }),
  );
  assert.ok(!matches(match, { headers: [["x-beta", "0, 1"]] }));
  assert.ok(!matches(match, { headers: [["x-betas", "1"]] }));
  assert.ok(!matches(match, {}));
  assert.ok(matches({ headers: { a: "" } }, { headers: [["a", ""]] }));
  assert.ok(matches({ headers: { a: "é" } }, { headers: [["a", "é"]] }));
});

test("the client's address is in one of the networks", () => {
  const match = { client: ["10.0.0.0/8", "192.0.2.7", "2001:db8::/32"] };
  for (const client of ["10.0.0.1", "10.255.255.255", "192.0.2.7", "2001:db8:1::1"])
    assert.ok(matches(match, { client }), client);
  for (const client of ["11.0.0.1", "192.0.2.8", "2001:db9::1", "unknown", ""])
    assert.ok(!matches(match, { client }), client);
  assert.ok(matches({ client: ["0.0.0.0/0"] }, { client: "1.2.3.4" }));
  assert.ok(!matches({ client: ["0.0.0.0/0"] }, { client: "::1" }));
});

test("the server name is that of the handshake, without a closing dot", () => {
  const match = { sni: ["a.example", "*.b.example"] };
  for (const sni of ["a.example", "a.example.", "x.b.example", "y.x.b.example."])
    assert.ok(matches(match, { sni }), sni);
  for (const sni of ["", "xa.example", "b.example", ".b.example", "a.example.evil"])
    assert.ok(!matches(match, { sni }), sni);
  assert.ok(!matches(match, { host: "a.example" }), "without TLS there is none");
});

test("a cookie is the first of its name, as the SDK reads it", () => {
  const match = { cookie: { beta: "1" } };
  const having = (...cookies: string[]) =>
    matches(match, { headers: cookies.map((value) => ["Cookie", value] as const) });
  for (const cookie of [
    "beta=1",
    "a=b; beta=1",
    "a=b;beta=1;c",
    ";; \tbeta \t= 1 ; x=y",
    "beta; beta=1",
    "beta=1; beta=2",
  ])
    assert.ok(having(cookie), cookie);
  for (const cookie of [
    "beta=2; beta=1",
    "Beta=1",
    "xbeta=1",
    "betax=1",
    "beta=1x",
    'beta="1"',
    "beta",
    "beta==1",
    "",
    "=1",
  ])
    assert.ok(!having(cookie), cookie);
  assert.ok(having("a=b", "beta=1"));
  assert.ok(!having("beta=0", "beta=1"));
  assert.ok(matches({ cookie: { a: "", b: "=" } }, { headers: [["cookie", "a=; b=="]] }));
  assert.ok(!matches({ cookie: { a: "" } }, { headers: [["cookie", "a"]] }));
  assert.ok(!matches(match, { headers: [["X-Cookie", "beta=1"]] }));
});

test("of a list any value matches", () => {
  const match: MatchPlan = {
    scheme: ["http", "https"],
    host: ["a.example", "*.b.example"],
    path: ["/x", "/y"],
    prefix: ["/x", "/y"],
    regex: ["/[xz]", "/y+"],
  };
  for (const path of ["/x", "/y"])
    for (const host of ["a.example", "c.b.example:80"]) assert.ok(matches(match, { host, path }), `${host} ${path}`);
  for (const wrong of [{ host: "b.example" }, { path: "/z" }, { path: "/xx" }])
    assert.ok(!matches(match, { host: "a.example", path: "/x", ...wrong }), JSON.stringify(wrong));
  const { prefix, regex, ...fixed } = match;
  assert.ok(!matches({ ...fixed, prefix: ["/a", "/b"] }, { host: "a.example", path: "/x" }));
  assert.ok(!matches({ ...fixed, regex: ["/a", "/b"] }, { host: "a.example", path: "/x" }));
});

test("a value is exact, present, a beginning or a regular expression; of a list any", () => {
  const values: [wanted: ValueTable[string], good: readonly string[], wrong: readonly string[]][] = [
    ["ab", ["ab"], ["a", "abc", "AB", ""]],
    [{ present: true }, ["", "ab"], []],
    [{ prefix: "ab" }, ["ab", "abc"], ["a", "xab", "AB"]],
    [{ regex: "a+|é" }, ["a", "aa", "é"], ["", "ab", "ba", "e"]],
    [
      ["x", { prefix: "ab" }, { regex: "[0-9]{2}" }],
      ["x", "abc", "12"],
      ["xx", "a", "123"],
    ],
    [{ present: false }, [], ["", "ab"]],
    [[{ present: false }, "x"], ["x"], ["", "xx"]],
  ];
  for (const [wanted, good, wrong] of values)
    for (const value of [...good, ...wrong]) {
      const is = good.includes(value);
      const what = JSON.stringify({ wanted, value });
      assert.equal(matches({ headers: { "x-a": wanted } }, { headers: [["X-A", value]] }), is, `header ${what}`);
      assert.equal(matches({ query: { q: wanted } }, { query: `q=${encodeURIComponent(value)}` }), is, `query ${what}`);
      assert.equal(
        matches({ cookie: { c: wanted } }, { headers: [["cookie", `b=1; c=${value}`]] }),
        is,
        `cookie ${what}`,
      );
    }
  for (const [wanted, is] of [
    ["a", false],
    [{ present: true }, false],
    [{ prefix: "" }, false],
    [{ regex: ".*" }, false],
    [{ present: false }, true],
    [["a", { present: false }], true],
  ] as const) {
    const others: Request = {
      query: "r=1&qq",
      headers: [
        ["x-ab", "1"],
        ["cookie", "cc=1; c"],
      ],
    };
    for (const match of [{ headers: { "x-a": wanted } }, { query: { q: wanted } }, { cookie: { c: wanted } }])
      assert.equal(matches(match, others), is, JSON.stringify(match));
  }
});

test("any header of a name, but the first parameter and cookie", () => {
  const wanted = { prefix: "b" };
  const headers = (name: string, ...values: string[]) => values.map((value) => [name, value] as const);
  assert.ok(matches({ headers: { x: wanted } }, { headers: headers("x", "a", "b1") }));
  assert.ok(!matches({ headers: { x: { present: false } } }, { headers: headers("x", "a", "b1") }));
  assert.ok(!matches({ query: { q: wanted } }, { query: "q=a&q=b1" }));
  assert.ok(matches({ query: { q: wanted } }, { query: "q=%62+1&q=a" }));
  assert.ok(matches({ query: { q: { regex: "b 1\\+" } } }, { query: "q=%62+1%2b" }));
  assert.ok(!matches({ cookie: { c: wanted } }, { headers: headers("cookie", "c=a", "c=b") }));
});

test("a regular expression of a value takes linear time, once for all readings of a path", () => {
  const value = "a".repeat(30_000);
  assert.ok(!matches({ headers: { x: { regex: "(a+)+b" } } }, { headers: [["x", value]] }));
  const expressions = Array.from({ length: 20 }, (_, i) => ({ match: { headers: { x: { regex: `(a+)+${i}` } } } }));
  const router = new Router([
    ...expressions,
    { match: { headers: { x: { regex: "b+" } }, prefix: "/b" } },
    { match: {} },
  ]);
  const of = (header: string) => {
    const head = makeHead({ path: "/%2F;/%2B//b", headers: [["x", header]] });
    normalizePath(head);
    return inputOf(head);
  };
  const long = of(value);
  assert.equal(router.findRival(long, 0, router.match(long, 0)), null);
  // Results are those of this request.
  const other = inputOf(doubtful("//b"));
  assert.equal(router.findRival(other, 0, router.match(other, 0)), null);
  const head = makeHead({ path: "//b", headers: [["x", "bb"]] });
  normalizePath(head);
  assert.equal(router.findRival(inputOf(head), 0, router.match(inputOf(head), 0))?.route, 20);
});

test("not excludes requests that one of its conditions matches", () => {
  const match = {
    prefix: "/a/",
    not: [{ method: ["GET"], path: "/a/x" }, { client: ["10.0.0.0/8"] }, { host: "b.example" }],
  };
  assert.ok(matches(match, { path: "/a/x", method: "POST" }));
  assert.ok(matches(match, { path: "/a/y" }));
  for (const excluded of [
    { path: "/a/x" },
    { path: "/a/y", client: "10.1.1.1" },
    { path: "/a/y", host: "B.example:80" },
  ])
    assert.ok(!matches(match, excluded), JSON.stringify(excluded));
  assert.ok(!matches(match, { path: "/b/" }));
});

test("readings of a path are compared with the conditions under not as well", () => {
  const router = new Router([{ match: { not: [{ prefix: "/private/" }] } }, { match: {} }]);
  const input = inputOf(doubtful("//private/x"));
  assert.equal(router.match(input, 0), 0);
  assert.equal(router.findRival(input, 0, 0)?.route, 1);
  // The condition itself is rewritten too.
  const doubled = new Router([{ match: { not: [{ path: "//x" }] } }, { match: {} }]);
  const same = inputOf(doubtful("//x"));
  assert.equal(doubled.match(same, 0), 1);
  assert.equal(doubled.findRival(same, 0, 1), null);
  // Each regular expression counts: too many for the longest path are refused.
  const many = new Router([{ match: { not: Array.from({ length: 40 }, () => ({ regex: "/x" })) } }]);
  assert.equal(many.findRival(inputOf(doubtful(`/${"a".repeat(4000)}//`)), 0, 0)?.route, -2);
});

test("explain names the key that does not match", () => {
  const match = { sni: ["a.example"], client: ["10.0.0.0/8"], cookie: { a: "1" }, not: [{ method: ["POST"] }] };
  const router = new Router([{ match }]);
  const good: Request = { sni: "a.example", client: "10.0.0.1", headers: [["cookie", "a=1"]] };
  const failing: [Partial<Request>, string][] = [
    [{}, ""],
    [{ sni: "b.example" }, "sni"],
    [{ client: "11.0.0.1" }, "client"],
    [{ headers: [] }, "cookie"],
    [{ method: "POST" }, "not"],
  ];
  for (const [change, key] of failing) assert.equal(router.explain(makeInput({ ...good, ...change }), 0), key);
});

test("a field that an edit removed does not match", () => {
  const head = makeHead({ headers: [["x-beta", "1"]] });
  const router = new Router([{ match: { headers: { "x-beta": "1" } } }]);
  assert.equal(router.match(inputOf(head), 0), 0);
  head.removeAt(0);
  assert.equal(router.match(inputOf(head), 0), -1);
});

test("a query is decoded as by URLSearchParams and the SDK's Query", () => {
  const unit = fc.constantFrom(..."ab=&&+%%", "%20", "%2B", "%26", "%3D", "%2", "/", "?", "%c3%a9");
  fc.assert(
    fc.property(fc.string({ unit, maxLength: 20 }), (query) => {
      // It drops one `?` at the beginning.
      const form = new URLSearchParams(`?${query}`);
      for (const name of form.keys()) {
        const value = form.get(name)!;
        // No route can have an empty name; and what is not UTF-8 is compared as bytes.
        if (name === "" || `${name}${value}`.includes("\ufffd")) continue;
        assert.ok(matches({ query: { [name]: value } }, { query }), JSON.stringify({ query, name, value }));
        assert.ok(!matches({ query: { [name]: `${value}x` } }, { query }));
      }
    }),
  );
});

test("the first query parameter of a name counts, decoded as in forms", () => {
  const match = { query: { q: "a b" } };
  assert.ok(matches(match, { query: "x=1&q=a%20b" }));
  assert.ok(matches(match, { query: "%71=a%20b&q=c" }));
  assert.ok(!matches(match, { query: "q=c&q=a%20b" }));
  assert.ok(matches(match, { query: "q=a+b" }));
  assert.ok(!matches(match, { query: "q=a%2Bb" }));
  assert.ok(matches({ query: { q: "a+b" } }, { query: "q=a%2bb" }));
  assert.ok(!matches({ query: { q: "a+b" } }, { query: "q=a+b" }));
  assert.ok(matches({ query: { "a b": "1" } }, { query: "a+b=1" }));
  assert.ok(!matches(match, { query: "qq=a%20b" }));
  assert.ok(!matches(match, {}));
  assert.ok(matches({ query: { q: "" } }, { query: "q" }));
  assert.ok(matches({ query: { q: "" } }, { query: "q=&x" }));
  assert.ok(matches({ query: { q: "100%" } }, { query: "q=100%" }));
  assert.ok(matches({ query: { q: "%zz" } }, { query: "q=%zz" }));
  assert.ok(matches({ query: { q: "a=b" } }, { query: "q=a=b" }));
  assert.ok(matches({ query: { q: "é" } }, { query: "q=%C3%A9" }));
});

test("all keys must match", () => {
  const match = { host: "a.org", prefix: "/x", method: ["GET"], headers: { h: "1" }, query: { q: "2" }, regex: "/x.*" };
  const request = { host: "a.org", path: "/xy", method: "GET", headers: [["h", "1"] as const], query: "q=2" };
  assert.ok(matches(match, request));
  const wrong: Request[] = [{ host: "b.org" }, { path: "/y" }, { method: "PUT" }, { headers: [] }, { query: "q=3" }];
  for (const one of wrong) assert.ok(!matches(match, { ...request, ...one }), JSON.stringify(one));
});

test("the first match at or after `from` wins", () => {
  const router = new Router([{ match: { path: "/b" } }, { match: {} }, { match: { path: "/a" } }, { match: {} }]);
  const input = makeInput({ path: "/a" });
  assert.equal(router.match(input, 0), 1);
  assert.equal(router.match(input, 2), 2);
  assert.equal(router.match(input, 3), 3);
  assert.equal(router.match(input, 4), -1);
  assert.equal(new Router([]).match(input, 0), -1);
});

test("for all queries, the result is that of decoding and comparing", () => {
  const element = fc.constantFrom("q", "=", "&", "%71", "%", "a", "%4", "%20");
  fc.assert(
    fc.property(
      fc.array(element, { maxLength: 12 }),
      fc.constantFrom("", "a", "q", "a=", " ", "%"),
      (elements, wanted) => {
        const query = elements.join("");
        const decode = (text: string) =>
          text.replace(/%([0-9A-Fa-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
        const found = query
          .split("&")
          .filter((one) => one !== "")
          .map((one) => (one.includes("=") ? one : `${one}=`))
          .map((one) => [one.slice(0, one.indexOf("=")), one.slice(one.indexOf("=") + 1)].map(decode))
          .find(([name]) => name === "q");
        assert.equal(matches({ query: { q: wanted } }, { query }), found?.[1] === wanted);
      },
    ),
  );
});

test("for a route that does not match, the first failing key is reported", () => {
  const match: MatchPlan = {
    scheme: "https",
    host: "a.example",
    prefix: "/api/",
    method: ["POST"],
    headers: { "x-a": "1" },
    query: { b: "2" },
  };
  const router = new Router([{ match }, { match: { regex: "/[0-9]+" } }, { match: {} }]);
  const wrong: [request: Request, key: string][] = [
    [{ host: "a.example" }, "scheme"],
    [{ scheme: "https", host: "b.example" }, "host"],
    [{ scheme: "https", host: "a.example" }, "prefix"],
    [{ scheme: "https", host: "a.example", path: "/api/x" }, "method"],
    [{ scheme: "https", host: "a.example", path: "/api/x", method: "POST" }, "headers"],
    [{ scheme: "https", host: "a.example", path: "/api/x", method: "POST", headers: [["x-a", "1"]] }, "query"],
    [{ scheme: "https", host: "a.example", path: "/api/x", method: "POST", headers: [["x-a", "1"]], query: "b=2" }, ""],
  ];
  for (const [request, key] of wrong) assert.equal(router.explain(makeInput(request), 0), key);
  assert.deepEqual([router.explain(makeInput({}), 1), router.explain(makeInput({}), 2)], ["regex", ""]);
});

function rivalOf(matches: MatchPlan[], request: Request, from = 0): { selected: number; rival: number | null } {
  const input = makeInput(request);
  const { request: head } = input;
  assert.equal(normalizePath(head), 0);
  const before = [head.end, ...head.parts];
  const router = new Router(matches.map((match) => ({ match })));
  const selected = router.match(input, from);
  const rival = head.doubts === 0 ? null : router.findRival(input, from, selected);
  assert.deepEqual([head.end, ...head.parts], before);
  return { selected, rival: rival === null ? null : rival.route };
}

test("a path that selects another route in another interpretation is ambiguous", () => {
  const guarded: MatchPlan[] = [{ prefix: "/private/" }, { path: "/one" }, {}];
  for (const path of ["//private/x", "/%2Fprivate/x", "/x%2F..%2Fprivate/x", "/x/..;/private/x", "/;/private/"])
    assert.deepEqual(rivalOf(guarded, { path }), { selected: 2, rival: 0 }, path);
  for (const path of ["/private//x", "/private/a%2Fb", "/private/;a", "/private/%2B"])
    assert.deepEqual(rivalOf(guarded, { path }), { selected: 0, rival: null }, path);
  for (const path of ["//x", "/a%2Fb", "/a;b", "/%2B"])
    assert.deepEqual(rivalOf(guarded, { path }), { selected: 2, rival: null }, path);
  assert.deepEqual(rivalOf(guarded, { path: "/private/..%2Fx" }), { selected: 0, rival: 2 });
  assert.deepEqual(rivalOf(guarded, { path: "//one" }), { selected: 2, rival: 1 });
  assert.deepEqual(rivalOf(guarded, { path: "/one;a" }), { selected: 2, rival: 1 });
});

test("a path that matches no route in one interpretation is ambiguous too", () => {
  const api: MatchPlan[] = [{ prefix: "/api/" }];
  assert.deepEqual(rivalOf(api, { path: "/api/..%2Fadmin" }), { selected: 0, rival: -1 });
  assert.deepEqual(rivalOf(api, { path: "//api/x" }), { selected: -1, rival: 0 });
  assert.deepEqual(rivalOf(api, { path: "/api//x" }), { selected: 0, rival: null });
  assert.deepEqual(rivalOf(api, { path: "//x" }), { selected: -1, rival: null });
});

test("a route whose own path is ambiguous keeps matching it", () => {
  const written: MatchPlan[] = [{ prefix: "/a%2Fb/" }, { path: "//c" }, { prefix: "/d;e/" }, { prefix: "/a/b/" }, {}];
  assert.deepEqual(rivalOf(written, { path: "/a%2Fb/x" }), { selected: 0, rival: null });
  assert.deepEqual(rivalOf(written, { path: "/a%2Fb//x%2Fy" }), { selected: 0, rival: null });
  assert.deepEqual(rivalOf(written, { path: "//c" }), { selected: 1, rival: null });
  assert.deepEqual(rivalOf(written, { path: "/d;e/x" }), { selected: 2, rival: null });
  assert.deepEqual(rivalOf(written, { path: "/a%2Fb/..%2F..%2Fx" }), { selected: 0, rival: 4 });
  assert.deepEqual(rivalOf([...written].reverse(), { path: "/a%2Fb/x" }), { selected: 0, rival: null });
  // Both are written, the plain one first: an endpoint may mean either.
  assert.deepEqual(rivalOf([{ prefix: "/a/b/" }, { prefix: "/a%2Fb/" }], { path: "/a%2Fb/x" }), {
    selected: 1,
    rival: 0,
  });
});

test("other conditions apply to every interpretation, and a passed route does not make a path ambiguous", () => {
  const hosts: MatchPlan[] = [
    { prefix: "/private/", host: "a.example" },
    { method: ["POST"], prefix: "/private/" },
    {},
  ];
  const path = "//private/x";
  assert.deepEqual(rivalOf(hosts, { path, host: "a.example" }), { selected: 2, rival: 0 });
  assert.deepEqual(rivalOf(hosts, { path, host: "b.example" }), { selected: 2, rival: null });
  assert.deepEqual(rivalOf(hosts, { path, host: "b.example", method: "POST" }), { selected: 2, rival: 1 });
  assert.deepEqual(rivalOf(hosts, { path, host: "a.example" }, 1), { selected: 2, rival: null });
  const regex: MatchPlan[] = [{ regex: "/private(/.*)?" }, {}];
  assert.deepEqual(rivalOf(regex, { path: "/%2Fprivate" }), { selected: 1, rival: 0 });
  assert.deepEqual(rivalOf(regex, { path: "/public%2F" }), { selected: 1, rival: null });
});

test("a long path with too many interpretations is rejected", () => {
  const long = "a".repeat(16_000);
  assert.deepEqual(rivalOf([{}], { path: `/%2F;/%2B//${long}` }), { selected: 0, rival: -2 });
  const patterns = Array.from({ length: 10 }, (_, i) => ({ regex: `/.*/.*/x${i}` }));
  const path = `/%2F;/%2B//${"a/".repeat(4096)}`;
  assert.deepEqual(rivalOf([{}], { path }), { selected: 0, rival: null });
  assert.deepEqual(
    rivalOf([...patterns, {}], { path }),
    { selected: 10, rival: -2 },
    "each pattern would read it again",
  );
  assert.deepEqual(rivalOf([{}], { path: `/%2F/${long}` }), { selected: 0, rival: null });
  assert.deepEqual(rivalOf([{}], { path: `//${"a".repeat(65_000)}` }), { selected: 0, rival: null });
});
