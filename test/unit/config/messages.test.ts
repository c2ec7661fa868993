/** Messages and places of mistakes in the file; and warnings. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { formatProblem, loadConfig } from "../../../src/config/load.ts";

const BASE = `listeners:
  web: { address: ":8080", cluster: app }
clusters:
  app: ["127.0.0.1:9001"]
`;
const withRoutes = (...list: string[]) => BASE.replace("cluster: app", `routes: [${list.join(", ")}]`);

function load(text: string) {
  const { config, problems, warnings } = loadConfig(text, { file: "s", env: { X: "1" } });
  return { config, problems: problems.map(formatProblem), warnings: warnings.map(formatProblem) };
}

const slips: [what: string, text: string, problem: RegExp][] = [
  [
    "no condition on a value",
    withRoutes("{ match: { headers: { a: {} } }, cluster: app }"),
    /^s:2:62: .*\.match\.headers\.a: expected one of the keys exact, present, prefix, regex, found none$/,
  ],
  [
    "two conditions on a value",
    withRoutes("{ match: { query: { a: [b, { present: true, prefix: c }] } }, cluster: app }"),
    /\.match\.query\.a\.1: expected one of the keys exact, present, prefix, regex, found present and prefix$/,
  ],
  [
    "an invalid expression in a list",
    withRoutes('{ match: { cookie: { a: [{ regex: "(" }] } }, cluster: app }'),
    /\.match\.cookie\.a\.0\.regex: not a regular expression of RE2's syntax/,
  ],
  [
    "an empty list",
    withRoutes("{ match: { host: [] }, cluster: app }"),
    /\.match\.host: empty list, which no request matches: expected at least one value$/,
  ],
  [
    "an unquoted wildcard",
    withRoutes("{ match: { host: *.example.com }, cluster: app }"),
    /^s:2:54: .*\.match\.host: unquoted, \*\.example\.com is an alias of YAML: write it in quotes, "\*\.example\.com"$/,
  ],
  [
    "an unquoted wildcard in a block",
    BASE.replace(
      '{ address: ":8080", cluster: app }',
      "\n    address: :8080\n    routes:\n      - match:\n          host: *.a.example\n        cluster: app",
    ),
    /^s:6:17: .*write it in quotes, "\*\.a\.example"$/,
  ],
  ["a lone star", `${BASE}workers: *\n`, /^s:5:10: an alias without a name: write text that begins with \* in quotes$/],
  [
    "a missing space after a colon",
    BASE.replace('{ address: ":8080", cluster: app }', '\n    address:":8080"\n    cluster: app'),
    /^s:3:12: no space after this ":": expected one between a key and its value$/,
  ],
  [
    "a reference that is not closed within a quote",
    BASE.replace("cluster: app", 'cluster: "${APP" '),
    /^s:2:38: "\$\{" without a variable's name and "\}" after it/,
  ],
  [
    "every method",
    withRoutes("{ match: { method: ANY }, cluster: app }"),
    /\.match\.method: invalid value "ANY": expected a method such as GET, or no key "method" for all$/,
  ],
  [
    "a port alone",
    BASE.replace('":8080"', "8080"),
    /web\.address: invalid value "8080": expected ":8080" for every address, or 127\.0\.0\.1:8080$/,
  ],
  [
    "an address with a star",
    BASE.replace(":8080", "*:8080"),
    /web\.address: invalid value "\*:8080": expected ":8080" for every address/,
  ],
  ["admin: true", `${BASE}admin: true\n`, /^s:5:8: admin: invalid value "true": expected false, or an address such as/],
  [
    "a growing time that is below its start",
    BASE.replace(/app: \[/, "app: { health: { passive: { ejectFor: 10m, maxEjectFor: 1m } }, endpoints: [").replace(
      /\]\n$/,
      "] }\n",
    ),
    /health\.passive: maxEjectFor \(60000ms\) is below ejectFor \(600000ms\), expected at least as much$/,
  ],
  ["an unclosed quote at the end", `${BASE}workers: "2\n`, /^s:5:10: this quote is not closed: expected another "$/],
  ["an unclosed quote above all", `workers: '2\n${BASE}`, /^s:1:10: this quote is not closed: expected another '$/],
  [
    "an unclosed quote that the next one closes",
    `trace: { header: "x-a,\n  keep: "5" }\n${BASE}`,
    /^s:1:18: this quote is closed a line below: is one missing in this line\?$/,
  ],
  ["two documents", `${BASE}---\na: 1\n`, /^s:5:1: a second document begins here: expected one in a file$/],
  ["two documents with an end", `${BASE}...\n---\na: 1\n`, /^s:6:1: a second document begins here/],
  [
    "an alias within its own anchor",
    `${BASE}plugins: { x: { wasm: a, config: &c [*c] } }`,
    /^s:5:38: plugins\.x\.config\.0: the alias "\*c" is within the value that it refers to$/,
  ],
  [
    "a merge of its own anchor",
    `${BASE}plugins: &p { x: { wasm: a, config: { <<: *p } } }`,
    /^s:5:43: plugins\.x\.config: the alias "\*p" is within the value that it refers to$/,
  ],
  [
    "an alias of nothing",
    `${BASE}workers: *x`,
    /^s:5:10: workers: unknown alias "\*x", expected an anchor "&x" before it/,
  ],
  ["an alias before its anchor", `workers: *x\n${BASE}kv: { size: &x 1MiB }`, /^s:1:10: workers: unknown alias "\*x"/],
  [
    "what is nested too deep",
    `${BASE}plugins: { x: { wasm: a, config: ${"[".repeat(200)}${"]".repeat(200)} } }`,
    /values are nested more than 100 deep/,
  ],
];
for (const [what, text, problem] of slips)
  test(`names ${what}`, () => {
    const { problems } = load(text);
    assert.match(problems[0] ?? "", problem, problems.join("\n"));
  });

/** One mistake each. */
const single: [what: string, text: string, problem: RegExp][] = [
  [
    "datagrams on a Unix socket",
    BASE.replace(":8080", "unix:/run/a.sock").replace("cluster:", "protocol: udp, cluster:"),
    /^s:2:8: listeners\.web: unix:\/run\/a\.sock receives no datagrams: expected an address with a port/,
  ],
  ["servers", BASE.replace(/app: (\[.*\])/, "app: { servers: $1 }"), /unknown key "servers", write `endpoints`/],
  ["listen", BASE.replace("address", "listen"), /unknown key "listen", write `address`/],
  ["a misspelt key", BASE.replace("address", "adress"), /unknown key "adress", did you mean "address"/],
  ["upstreams", BASE.replace("clusters", "upstreams"), /unknown key "upstreams", write `clusters`/],
  ["a list of clusters", BASE.replace(/app: (\[.*\])/, "- $1"), /clusters: invalid value \(a list\)/],
  ["proxy_pass", withRoutes("{ proxy_pass: app }"), /unknown key "proxy_pass", write `cluster`/],
  ["a list as split", withRoutes("{ split: [app] }"), /split: invalid value \(a list\)/],
  ["a percentage as weight", withRoutes("{ split: { app: 90% } }"), /split\.app: invalid value "90%"/],
  ["a short token", `${BASE}admin: { address: ":9901", token: abc }`, /admin\.token: the token is not of 16/],
  ["an unset variable", BASE.replace("cluster: app", 'cluster: "$' + '{NO}"'), /variable NO is not set/],
  [
    "a path in a route",
    withRoutes("{ path: /a, cluster: app }"),
    /unknown key "path", write it within `match: \{ … \}`/,
  ],
  [
    "a path of a check",
    BASE.replace(/app: (\[.*\])/, "app: { health: { active: { path: /up } }, endpoints: $1 }"),
    /active\.path: unknown key "path", write `http: \/path`$/,
  ],
  ["a host of an endpoint", BASE.replace(/app: \[.*\]/, "app: [{ host: a }]"), /"host", write `address: "host:port"`$/],
  [
    "a certificate",
    BASE.replace("cluster:", "tls: { cert: a.pem }, cluster:"),
    /"cert", write `certificates: \[\{ cert/,
  ],
];
for (const [what, text, problem] of single)
  test(`one mistake is one problem: ${what}`, () => {
    const { problems } = load(text);
    assert.match(problems[0] ?? "", problem);
    assert.deepEqual(problems.slice(1), []);
  });

test("a missing key is reported beside an unknown one that does not replace it", () => {
  const { problems } = load(BASE.replace('address: ":8080"', "foo: 1"));
  assert.equal(problems.length, 2, problems.join("\n"));
});

test("warns of paths that look like patterns of another program", () => {
  for (const [key, path, wildcard] of [
    ["prefix", "/api/*", "*"],
    ["path", "/users/:id", ":id"],
    ["path", "/users/{id}/x", "{id}"],
  ]) {
    const { problems, warnings } = load(withRoutes(`{ match: { ${key}: "${path}" }, cluster: app }`));
    assert.deepEqual(problems, []);
    assert.match(
      warnings[0] ?? "",
      new RegExp(`: "${RegExp.escape(wildcard!)}" in ".*" matches only itself: expected`),
    );
  }
  for (const path of ["/v1/a:cancel", "/a/:", "/{", "/a{}"])
    assert.deepEqual(load(withRoutes(`{ match: { path: "${path}" }, cluster: app }`)).warnings, []);
});

test("a longer ejection alone raises the maximum to which it grows", () => {
  const { config } = load(
    BASE.replace(/app: (\[.*\])/, "app: { health: { passive: { ejectFor: 10m } }, endpoints: $1 }"),
  );
  assert.equal(config?.clusters[0]?.health.passive.maxEjectFor, 600_000);
});

test("of an anchor defined twice, an alias uses the last definition before it", () => {
  const { config } = load(`${BASE}workers: &n 2\ntrace: { keep: *n }\nlog: { access: &n true }\nkv: { size: 1MiB }\n`);
  assert.equal(config?.trace.keep, 2);
});

test("an alias bomb is rejected at once, by its limits", () => {
  const lines = Array.from({ length: 9 }, (_, i) => `  b${i}: &b${i} [${Array(9).fill(i === 0 ? "x" : `*b${i - 1}`)}]`);
  const { problems } = load(`${BASE}${lines.join("\n")}\n`);
  assert.ok(
    problems.some((one) =>
      one.endsWith("more than 100000 values, those of an alias counted each time: expected fewer"),
    ),
  );
});

test("structure and reachability are reported in one pass, without follow-up problems", () => {
  const { problems } = load(
    `workers: many
${withRoutes(
  "{ match: { prefix: /a }, cluster: app }",
  "{ match: { prefix: /ab }, cluster: app }",
  "{ match: { prefx: /c }, cluster: app }",
  "{ match: { prefix: /d }, cluster: ap }",
  "{ match: { prefix: /d }, cluster: app }",
)}
admin: 127.0.0.1:8080
`.replace("app: [", "other: [nonsense]\n  app: ["),
  );
  assert.deepEqual(
    problems.map((problem) => problem.replace(/^s:\d+:\d+: /, "")),
    [
      'workers: invalid value "many": expected a whole number from 0 to 256',
      "listeners.web.routes.1: unreachable route: route 0 matches all of its requests",
      'listeners.web.routes.2.match.prefx: unknown key "prefx", did you mean "prefix"',
      'listeners.web.routes.3.cluster: unknown cluster "ap", did you mean "app"',
      'clusters.other.0: "nonsense" has no port, expected nonsense:port',
    ],
  );
  const without = load(`clusters: { app: ["a:1"] }\nplugins: { x: {} }`).problems;
  assert.deepEqual(without.length, 2, "a file without listeners");
});

test("a listener whose cluster or routes are invalid is not reported as one without them", () => {
  for (const text of [BASE.replace("cluster: app", 'cluster: "a b"'), BASE.replace("cluster: app", "routes: 5")]) {
    const { problems } = load(text);
    assert.equal(problems.length, 1, problems.join("\n"));
    assert.match(problems[0]!, /listeners\.web\.(cluster|routes): invalid value/);
  }
});

test("a list whose items are all invalid is not reported as empty", () => {
  const tls = BASE.replace("cluster: app", "cluster: app, tls: { certificates: [{ cert: a.pem }], ciphers: [''] }");
  const texts = [
    BASE.replace(/app: \[.*\]/, "app: [nonsense]"),
    BASE.replace(/app: \[.*\]/, 'app: { strategy: [""], endpoints: [{ host: a }] }'),
    tls,
  ];
  for (const text of texts) {
    const { problems, warnings } = load(text);
    assert.notDeepEqual(problems, [], text);
    assert.deepEqual(
      [...problems, ...warnings].filter((one) => /is empty|has no endpoints/.test(one)),
      [],
      text,
    );
  }
});

test("settings that datagrams do not have are problems, so that a cluster is not taken for encrypted", () => {
  const text = `listeners:
  u:
    address: ":53"
    protocol: udp
    http2: { maxConcurrentStreams: 5 }
    limits: { bandwidth: 1MiB/s }
    routes: [{ match: { sni: a.example, alpn: h2 }, cluster: tls, bandwidth: 1MiB/s }, { split: { proxied: 1, path: 1 } }]
  t: { address: ":53", protocol: tcp, http2: { maxConcurrentStreams: 5 }, cluster: tls }
clusters:
  tls: { endpoints: ["127.0.0.1:53"], tls: { verify: false } }
  proxied: { endpoints: ["127.0.0.1:53"], proxyProtocol: v2 }
  path: ["unix:/run/dns.sock"]
`;
  assert.deepEqual(load(text).problems, [
    's:5:5: listeners.u.http2: "http2" has no meaning in a listener with protocol: udp: expected it in a listener with protocol: http',
    's:6:15: listeners.u.limits.bandwidth: "limits.bandwidth" has no meaning in a listener with protocol: udp: expected it in a listener with protocol: http, tcp or auto',
    's:7:25: listeners.u.routes.0.match.sni: "match.sni" has no meaning in a listener with protocol: udp: expected the condition client',
    's:7:41: listeners.u.routes.0.match.alpn: "match.alpn" has no meaning in a listener with protocol: udp: expected the condition client',
    's:7:62: listeners.u.routes.0.cluster: the cluster "tls" has `tls`, which datagrams do not have: expected a cluster without it',
    's:7:67: listeners.u.routes.0.bandwidth: "bandwidth" has no meaning in a listener with protocol: udp: expected it in a listener with protocol: http, tcp or auto',
    's:7:99: listeners.u.routes.1.split.proxied: the cluster "proxied" has `proxyProtocol`, which datagrams do not have: expected a cluster without it',
    's:7:111: listeners.u.routes.1.split.path: the cluster "path" has an endpoint on a Unix socket, which receives no datagrams: expected an address with a port',
    's:8:39: listeners.t.http2: "http2" has no meaning in a listener with protocol: tcp: expected it in a listener with protocol: http',
  ]);
});

test("gRPC to a cluster that speaks HTTP/1 is a warning", () => {
  const warningsOf = (text: string) => load(text).warnings.map((one) => one.replace(/^s:\d+:\d+: /, ""));
  const warning = 'gRPC to the cluster "app", which speaks HTTP/1: expected protocol http2';
  const retried = withRoutes("{ match: { path: /a.B/C }, cluster: app, retry: { on: [unavailable] } }");
  const translated = BASE.replace("cluster: app", "chain: [grpc-web: {}], cluster: app");
  const counted = BASE.replace("cluster: app", "grpc: { methods: [a.B/C] }, cluster: app");
  assert.deepEqual(warningsOf(retried), [`listeners.web.routes.0.cluster: ${warning}`]);
  assert.deepEqual(warningsOf(translated), [`listeners.web.cluster: ${warning}`]);
  assert.deepEqual(warningsOf(counted), [`listeners.web.cluster: ${warning}`]);
  const endpoints = 'endpoints: ["127.0.0.1:9001"]';
  const app = (keys: string) => BASE.replace(/app: \[.*\]/, `app: { ${endpoints}, ${keys} }`);
  // Checks by gRPC always use HTTP/2; the endpoint may serve both.
  assert.deepEqual(warningsOf(app("health: { active: { grpc: true } }")), []);
  assert.deepEqual(warningsOf(BASE), []);
});

test("valid but probably unintended settings are warnings", () => {
  const unused = BASE.replace("app: [", 'spare: ["127.0.0.1:1"]\n  app: [');
  assert.deepEqual(load(BASE).warnings, []);
  assert.deepEqual(load(`acme: { email: a@b.example }\n${BASE}`).warnings, [
    "s:1:7: acme: no listener obtains a certificate: expected `tls: { acme: [NAME] }` of a listener",
  ]);
  const obtained = BASE.replace("cluster: app", "tls: { acme: [a.example] }, cluster: app");
  assert.deepEqual(load(`acme: { email: a@b.example }\n${obtained}`).warnings, []);
  assert.deepEqual(load(unused).warnings, ['s:4:3: clusters.spare: no route leads to the cluster "spare"']);
  assert.deepEqual(load(BASE.replace(/app: \[.*\]/, "app: []")).warnings, [
    "s:4:8: clusters.app: the cluster has no endpoints: its requests get 503",
  ]);
  const uses = [
    withRoutes("{ match: { path: /a }, cluster: spare }", "{ cluster: app }"),
    withRoutes("{ split: { app: 1, spare: 1 } }"),
    `${withRoutes("{ router: r, clusters: [app, spare] }")}plugins: { r: { wasm: a, allow: { clusters: [] } } }`,
    `${BASE.replace("cluster: app", "cluster: app, chain: [p]")}plugins: { p: { wasm: a } }`,
    `${BASE.replace("cluster: app", "cluster: app, chain: [p]")}plugins: { p: { wasm: a, allow: { clusters: [spare] } } }`,
    `${BASE}plugins: { p: { wasm: a, allow: { fetch: ["cluster:spare"] } } }`,
    BASE.replace("cluster: app", "cluster: app, chain: [{ ext-auth: { cluster: spare } }]"),
    BASE.replace("cluster: app", "cluster: app, chain: [{ jwt-jwks: { jwks: cluster:spare/keys } }]"),
  ];
  for (const text of uses) {
    const { problems, warnings } = load(text.replace("app: [", 'spare: ["127.0.0.1:1"]\n  app: ['));
    assert.deepEqual([problems, warnings], [[], []], text);
  }
  const plain = withRoutes("{ match: { sni: a.example }, cluster: app }", "{ cluster: app }");
  assert.deepEqual(
    load(plain).warnings.map((one) => one.replace(/^s:\d+:\d+: /, "")),
    ["listeners.web.routes.0: no request matches `sni`: without `tls` there is no server name (SNI)"],
  );
  const relayed = BASE.replace("cluster: app", "protocol: tcp, routes: [{ passthrough: true, cluster: app }]");
  assert.deepEqual(
    load(relayed).warnings.map((one) => one.replace(/^s:\d+:\d+: /, "")),
    ["listeners.web.routes.0: `passthrough` has no effect: without `tls`, all connections are relayed as they are"],
  );
  // Of several protocols, it selects TLS connections.
  assert.deepEqual(load(relayed.replace("protocol: tcp", "protocol: auto")).warnings, []);
  const encrypted = (text: string) =>
    load(text.replace('["127.0.0.1:9001"]', '{ tls: {}, endpoints: ["127.0.0.1:9001"] }')).warnings;
  const nested =
    'the cluster "app", which has `tls`: its endpoints receive TLS within TLS; expected a cluster without it, or a route that terminates TLS';
  for (const [text, at] of [
    [relayed.replace("protocol: tcp", "protocol: auto"), "s:2:83: listeners.web.routes.0.cluster"],
    [relayed.replace("passthrough: true", "match: { sni: a.example }"), "s:2:90: listeners.web.routes.0.cluster"],
  ])
    assert.deepEqual(encrypted(text!), [`${at}: TLS connections are relayed as they are to ${nested}`]);
  assert.deepEqual(encrypted(relayed.replace("passthrough: true, ", "")), []);
  const narrow = BASE.replace("cluster: app", "http2: { streamWindow: 2MiB }, cluster: app");
  assert.deepEqual(
    load(narrow).warnings.map((one) => one.replace(/^s:\d+:\d+: /, "")),
    [
      "listeners.web.http2.streamWindow: larger than `connectionWindow`, which limits it: expected at most the same size",
    ],
  );
  assert.deepEqual(load(narrow.replace("2MiB", "1MiB")).warnings, []);
  const excluded = withRoutes("{ match: { not: { sni: a.example } }, cluster: app }");
  assert.deepEqual(load(excluded).warnings, []);
  const named = withRoutes("{ match: { path: /a }, cluster: app, name: x }", "{ cluster: app, name: x }");
  assert.deepEqual(load(named).warnings, [
    's:2:85: listeners.web.routes.1: another route is named "x": metrics and logs do not distinguish them',
  ]);
  const numbered = withRoutes("{ match: { path: /a }, cluster: app, name: 1 }", "{ cluster: app }");
  assert.match(load(numbered).warnings.join(), /another route is named "1"/);
  const slow = BASE.replace(
    '["127.0.0.1:9001"]',
    '{ endpoints: ["127.0.0.1:9001"], health: { active: { tcp: true, interval: 1s, timeout: 2s } } }',
  );
  assert.match(
    load(slow).warnings.join(),
    /^s:4:\d+: clusters\.app\.health\.active: the timeout is longer than the interval/,
  );
});
