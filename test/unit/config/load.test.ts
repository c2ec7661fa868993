import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { formatProblem, loadConfig } from "../../../src/config/load.ts";
import { readSettings } from "../../../src/config/plugin-schema.ts";
import type { Config, Settings } from "../../../src/config/schema.ts";

const BASE = `listeners:
  web: { address: ":8080", cluster: app }
clusters:
  app: [127.0.0.1:9001, 127.0.0.1:9002]
`;

function load(text: string, env: Record<string, string> = {}): Config {
  const { config, problems } = loadConfig(text, { file: "sluice.yaml", env });
  assert.ok(config, problems.map(formatProblem).join("\n"));
  return config;
}

/** The value that a plugin without a schema gets. */
function plainValue(settings: Settings | undefined): unknown {
  const { value, problems } = readSettings(null, settings, { file: "", line: 1, column: 1, path: "" });
  assert.deepEqual(problems, []);
  return value;
}

function complain(text: string, env: Record<string, string> = {}): string[] {
  const { config, problems } = loadConfig(text, { file: "s.yaml", env });
  assert.equal(config, null);
  assert.ok(problems.length > 0);
  return problems.map(formatProblem);
}

function complainOnce(text: string, expected: RegExp, env: Record<string, string> = {}): void {
  const problems = complain(text, env);
  assert.equal(problems.length, 1, problems.join("\n"));
  assert.match(problems[0]!, expected);
}

/** Keys of a listener, a route and a cluster in the base. */
const listener = (keys: string) => BASE.replace("cluster: app", `cluster: app, ${keys}`);
const withRoutes = (...list: string[]) => BASE.replace("cluster: app", `routes: [${list.join(", ")}]`);
const cluster = (keys: string) => BASE.replace(/app: \[.*\]/, `app: { endpoints: [127.0.0.1:9001], ${keys} }`);

test("the smallest file has every default", () => {
  const config = load(BASE);
  assert.equal(config.workers, 0);
  assert.deepEqual(config.admin?.address, { text: "127.0.0.1:9901", host: "127.0.0.1", port: 9901, path: "" });
  assert.deepEqual([config.admin?.token, config.admin?.hosts, config.admin?.metrics], [null, [], null]);
  assert.deepEqual(config.log, { level: "info", access: false });
  assert.deepEqual(config.shutdown, { announce: 0, grace: 30_000 });
  const [web] = config.listeners;
  assert.deepEqual(web?.address, { text: ":8080", host: "", port: 8080, path: "" });
  assert.deepEqual(web?.timeouts, { handshake: 10_000, head: 15_000, body: 60_000, write: 60_000, idle: 75_000 });
  assert.deepEqual(web?.limits, {
    head: 32_768,
    target: 16_384,
    headers: 100,
    body: 0,
    connections: 0,
    connectionsPerClient: 0,
  });
  const [route] = web.routes;
  assert.equal(route?.action.kind === "cluster" && route.action.cluster.name, "app");
  assert.deepEqual([route?.name, route?.match, route?.timeout], ["0", {}, 0]);
  assert.deepEqual(route?.upgrade, ["websocket"]);
  assert.deepEqual(route?.retry, {
    attempts: Number.MAX_SAFE_INTEGER,
    connect: true,
    reset: true,
    timeout: true,
    statuses: [],
    grpc: 0,
  });
  const [app] = config.clusters;
  assert.deepEqual(
    app?.strategy.map((use) => use.name),
    ["round-robin"],
  );
  assert.deepEqual(app?.timeouts, { connect: 3000, response: 60_000, idle: 60_000, ping: 10_000, tunnel: 3_600_000 });
  assert.deepEqual(app?.pool, { idle: 64, idleFor: 55_000, connections: 0, requests: 1000, age: 3_600_000 });
  assert.deepEqual(
    app?.endpoints.map(({ address, weight, zone }) => [address.text, weight, zone]),
    [
      ["127.0.0.1:9001", 1, ""],
      ["127.0.0.1:9002", 1, ""],
    ],
  );
});

test("a file with everything in its place", () => {
  const config = load(
    `
workers: 2
admin: false
log: { level: debug, access: true }
shutdown: { announce: 10s, grace: 5s }
plugins:
  tenant:
    wasm: ./plugins/tenant.wasm
    config: { header: x-tenant, list: [1, null, "2", true] }
    source: ./plugins/tenant.ts
    onFailure: skip
    limits: { fuel: 5000, memory: 1MiB }
    allow: { clusters: [app, canary], headers: { hide: [Authorization, cookie] }, clock: precise }
  beta: { source: /abs/beta.ts }
listeners:
  web:
    address: 127.0.0.1:8080
    protocol: http
    timeouts: { head: 1500ms, body: 2m, write: 1h, idle: 0.5s }
    limits: { head: 16KiB, target: 1KiB, headers: 50, body: 10MiB, connections: 7, connectionsPerClient: 5 }
    trustedProxies: [10.0.0.0/8, "::1"]
    halfClose: true
    chain: [request-id, tenant]
    routes:
      - match: { host: "*.Example.com", prefix: /api/, method: [GET, POST], headers: { X-Beta: 1 }, query: { q: a b } }
        chain:
          - headers: { request: { set: { x-from: sluice } } }
        cluster: api
        name: api
        timeout: 15s
        retry: { attempts: 2, on: [connect, 502, 503] }
      - match: { path: /old, method: GET }
        split: { app: 90, canary: 10 }
      - match: { prefix: /next/ }
        router: beta
        clusters: [app, canary]
      - cluster: app
clusters:
  api:
    strategy: [least-connections, beta: { key: "header:x-user" }]
    timeouts: { connect: 1s, response: 2s, idle: 3s }
    pool: { idle: 1, idleFor: 2s, connections: 3, requests: 4 }
    endpoints:
      - 127.0.0.1:9001
      - { address: "[::1]:9002", weight: 3, zone: b }
      - unix:/run/app.sock
      - app.local:80
  app: [127.0.0.1:9003]
  canary: { endpoints: [127.0.0.1:9004] }
`.trimStart(),
  );
  assert.equal(config.workers, 2);
  assert.equal(config.admin, null);
  const [tenant, beta] = config.plugins;
  assert.deepEqual(plainValue(tenant?.config), { header: "x-tenant", list: [1, null, "2", true] });
  assert.deepEqual([tenant?.wasm.path, tenant?.source?.path], ["plugins/tenant.wasm", "plugins/tenant.ts"]);
  assert.deepEqual(tenant?.wasm.at, { file: "sluice.yaml", line: 7, column: 11, path: "plugins.tenant.wasm" });
  assert.deepEqual(tenant?.limits, {
    fuel: 5000,
    memory: 1024 * 1024,
    body: 1024 * 1024,
    tooLarge: "reject",
    time: 5000,
    guests: 16,
    slow: 0.0025,
  });
  assert.deepEqual(
    tenant?.allow.clusters?.map(({ name }) => name),
    ["app", "canary"],
  );
  assert.deepEqual(tenant?.allow.headers.hide, ["authorization", "cookie"]);
  assert.deepEqual([tenant?.allow.clock, beta?.allow.clock], ["precise", "coarse"]);
  assert.deepEqual(
    [tenant?.allow.at, beta?.allow.at].map((at) => [at?.line, at?.path]),
    [
      [12, "plugins.tenant.allow"],
      [13, "plugins.beta.allow"],
    ],
  );
  assert.equal(beta?.wasm.path, "/abs/beta.wasm", "derived from the source");
  const [web] = config.listeners;
  assert.deepEqual(web?.timeouts, { handshake: 10_000, head: 1500, body: 120_000, write: 3_600_000, idle: 500 });
  assert.deepEqual(web?.limits, {
    head: 16_384,
    target: 1024,
    headers: 50,
    body: 10_485_760,
    connections: 7,
    connectionsPerClient: 5,
  });
  assert.deepEqual(web?.trustedProxies, ["10.0.0.0/8", "::1"]);
  assert.deepEqual(
    web?.chain.map(({ name, config, at }) => [name, config, at.path]),
    [
      ["request-id", undefined, "listeners.web.chain.0"],
      ["tenant", undefined, "listeners.web.chain.1"],
    ],
  );
  const [api, old, next, rest] = web.routes;
  assert.deepEqual(api?.match, {
    host: "*.example.com",
    prefix: "/api/",
    method: ["GET", "POST"],
    headers: { "x-beta": "1" },
    query: { q: "a b" },
  });
  assert.deepEqual(plainValue(api?.chain[0]?.config), { request: { set: { "x-from": "sluice" } } });
  assert.deepEqual(api?.retry, {
    attempts: 2,
    connect: true,
    reset: false,
    timeout: false,
    statuses: [502, 503],
    grpc: 0,
  });
  assert.deepEqual([api?.name, old?.name, rest?.name], ["api", "1", "3"]);
  assert.deepEqual(old?.match.method, ["GET"]);
  assert.deepEqual(old?.action.kind === "split" && old.action.parts.map(({ name, weight }) => [name, weight]), [
    ["app", 90],
    ["canary", 10],
  ]);
  assert.ok(next?.action.kind === "router" && next.action.router.name === "beta");
  assert.deepEqual(
    next.action.clusters.map(({ name }) => name),
    ["app", "canary"],
  );
  const [cluster] = config.clusters;
  assert.deepEqual(
    cluster?.strategy.map(({ name, config }) => [name, config && plainValue(config)]),
    [
      ["least-connections", undefined],
      ["beta", { key: "header:x-user" }],
    ],
  );
  assert.deepEqual(
    cluster?.endpoints.map(({ address: { host, port, path }, weight, zone }) => [host, port, path, weight, zone]),
    [
      ["127.0.0.1", 9001, "", 1, ""],
      ["::1", 9002, "", 3, "b"],
      ["", 0, "/run/app.sock", 1, ""],
      ["app.local", 80, "", 1, ""],
    ],
  );
});

const PASSIVE = {
  enabled: true,
  consecutiveFailures: 5,
  statuses: [502, 503, 504],
  ejectFor: 10_000,
  maxEjectFor: 300_000,
  maxEjected: 0.5,
  panic: 0.5,
};

test("a health check in its short forms and in its long ones", () => {
  const active = (keys: string) => load(cluster(`health: { active: { ${keys} } }`)).clusters[0]?.health.active;
  const rest = { interval: 5000, timeout: 1000, healthyAfter: 2, unhealthyAfter: 3 };
  const classes = [
    { least: 200, most: 299 },
    { least: 300, most: 399 },
  ];
  const http = { kind: "http", path: "/healthz", method: "GET", status: classes };
  assert.deepEqual(active("http: /healthz"), { ...rest, probe: http });
  assert.deepEqual(
    active('http: { path: "/z?a=b", method: HEAD, host: "app.test:80", status: [204, 5xx] }, interval: 1m')?.probe,
    {
      ...{ kind: "http", path: "/z?a=b", method: "HEAD", host: "app.test:80" },
      status: [
        { least: 204, most: 204 },
        { least: 500, most: 599 },
      ],
    },
  );
  assert.deepEqual(active("tcp: true")?.probe, { kind: "tcp", connect: true, send: "", expect: "" });
  const ping = active('tcp: { send: "PING\\r\\n", expect: +PONG }, timeout: 50ms, healthyAfter: 1, unhealthyAfter: 5');
  const given = { interval: 5000, timeout: 50, healthyAfter: 1, unhealthyAfter: 5 };
  assert.deepEqual(ping, { ...given, probe: { kind: "tcp", connect: true, send: "PING\r\n", expect: "+PONG" } });
  assert.deepEqual(active("grpc: true")?.probe, { kind: "grpc", check: true, service: "" });
  assert.deepEqual(active("grpc: { service: a.B, host: app.test }")?.probe, {
    ...{ kind: "grpc", check: true, service: "a.B" },
    host: "app.test",
  });
  const own = "plugins: { doctor: { wasm: a, allow: { fetch: [endpoint] } } }";
  const plugged = load(`${cluster("health: { active: { plugin: { doctor: { path: /z } } } }")}${own}`);
  assert.deepEqual(plugged.plugins[0]?.allow.fetch, ["endpoint"]);
  const probe = plugged.clusters[0]?.health.active?.probe;
  assert.ok(probe?.kind === "plugin" && probe.use.name === "doctor");
  assert.deepEqual(plainValue(probe.use.config), { path: "/z" });
  assert.equal(load(cluster("health: {}")).clusters[0]?.health.active, undefined);
  assert.deepEqual(load(BASE).clusters[0]?.health, { passive: PASSIVE });
  assert.equal(load(cluster("health: { passive: false }")).clusters[0]?.health.passive.enabled, false);
  const strict = load(cluster("health: { passive: { consecutiveFailures: 3, statuses: [], maxEjected: 100% } }"));
  const changed = { consecutiveFailures: 3, statuses: [], maxEjected: 1 };
  assert.deepEqual(strict.clusters[0]?.health.passive, { ...PASSIVE, ...changed });
});

test("all problems are reported at once, each at its place", () => {
  const problems = complain(`workers: many
admn: 127.0.0.1:1
listeners:
  web:
    adress: ":80"
    routes:
      - match: { prefix: api }
        cluster: ap
clusters:
  app:
    strategy: headers
    endpoints: [127.0.0.1:9001, "9002"]
`);
  assert.deepEqual(problems, [
    's.yaml:1:10: workers: invalid value "many": expected a whole number from 0 to 256',
    's.yaml:2:1: admn: unknown key "admn", did you mean "admin"',
    's.yaml:5:5: listeners.web.adress: unknown key "adress", did you mean "address"',
    's.yaml:7:26: listeners.web.routes.0.match.prefix: invalid value "api": expected the beginning of a path that starts with /',
    's.yaml:8:18: listeners.web.routes.0.cluster: unknown cluster "ap", did you mean "app"',
    's.yaml:11:15: clusters.app.strategy: "headers" is a filter, expected a strategy',
    's.yaml:12:33: clusters.app.endpoints.1: invalid value "9002": expected an address with a port, such as 127.0.0.1:9001, app.local:9001, [::1]:9001 or unix:/run/app.sock',
  ]);
});

const wrong: [what: string, text: string, message: RegExp][] = [
  ["an unknown cluster in the short form", BASE.replace("cluster: app", "cluster: apt"), /2:37: .*did you mean "app"/],
  [
    "a route without a cluster",
    withRoutes("{ match: { path: /a } }"),
    /2:37: .*routes\.0: the route has nowhere to go/,
  ],
  ["a route with two", withRoutes("{ cluster: app, split: { app: 1 } }"), /both cluster and split/],
  [
    "a route that responds and has a cluster",
    withRoutes("{ cluster: app, respond: { body: ok } }"),
    /2:37: .*routes\.0: the route has both cluster and respond, expected one of cluster, split, router, respond, redirect$/,
  ],
  [
    "retries of a route that responds",
    withRoutes("{ respond: {}, retry: { attempts: 1 } }"),
    /2:52: .*routes\.0\.retry: "retry" has no meaning in a route with respond: expected it in a route with a cluster/,
  ],
  [
    "a redirect to what its route matches",
    withRoutes("{ match: { scheme: https }, redirect: { https: true } }"),
    /2:37: .*routes\.0: unreachable route: its `redirect` applies to none of its requests/,
  ],
  ["an action beside routes", listener("redirect: { https: true }"), /both "cluster" and "redirect" are given/],
  [
    "a local response to a connection",
    BASE.replace("cluster: app", "protocol: tcp, routes: [{ respond: {} }]"),
    /routes\.0\.respond: "respond" has no meaning in a route for TCP connections/,
  ],
  ["a route with a wrong cluster", withRoutes("{ cluster: [app] }"), /2:48: .*routes\.0\.cluster: invalid value/],
  ["weights of nothing", withRoutes("{ split: { app: 0 } }"), /add up to 0/],
  ["a split of unknown clusters", withRoutes("{ split: { ap: 1 } }"), /split\.ap: unknown cluster/],
  [
    "a router without clusters",
    withRoutes("{ router: x }").concat("plugins: { x: { wasm: a } }"),
    /nothing to choose from/,
  ],
  ["clusters without a router", withRoutes("{ cluster: app, clusters: [app] }"), /belongs to "router"/],
  ["an unknown router", withRoutes("{ router: x, clusters: [app] }"), /unknown router "x", there is none/],
  ["routes and cluster", listener("routes: [{ cluster: app }]"), /both "routes" and "cluster"/],
  ["neither", BASE.replace(", cluster: app", ""), /the listener has no action/],
  ["an unknown filter", listener("chain: [request_id]"), /chain\.0: unknown filter .*did you mean "request-id"/],
  ["a strategy as a filter", listener("chain: [random]"), /"random" is a strategy, expected a filter/],
  ["two names in one chain entry", listener("chain: [{ a: 1, b: 2 }]"), /a map of 2 keys/],
  ["an empty list of strategies", cluster("strategy: []"), /the list is empty/],
  ["a duration without unit", listener("timeouts: { head: 5 }"), /invalid value "5": expected a duration/],
  ["a duration out of bounds", listener("timeouts: { head: 2d }"), /from 10ms to 24h/],
  ["a size out of bounds", listener("limits: { head: 1GiB }"), /from 1KiB to 512KiB/],
  ["a size in other units", listener("limits: { head: 16KB }"), /such as 16KiB/],
  ["a fraction for a number", listener("limits: { headers: 1.5 }"), /a whole number from 1 to 500/],
  ["a block with too many bits", listener("trustedProxies: [10.0.0.0/33]"), /a block of addresses/],
  ["a status that is no failure", withRoutes("{ cluster: app, retry: { on: [200] } }"), /from 400 to 599/],
  ["a method in lower case", withRoutes("{ match: { method: get }, cluster: app }"), /in capitals/],
  ["a host with a port", withRoutes('{ match: { host: "a.b:80" }, cluster: app }'), /without port/],
  ["a star within a host", withRoutes('{ match: { host: "a.*.b" }, cluster: app }'), /without port/],
  ["a query in a path", withRoutes("{ match: { path: /a?b }, cluster: app }"), /can never match.*`query`/],
  ["dots at the end of a path", withRoutes("{ match: { path: /a/.. }, cluster: app }"), /can never match/],
  ["escaped dots in a prefix", withRoutes("{ match: { prefix: /a/%2e/b }, cluster: app }"), /can never match/],
  ["an overlong form", withRoutes("{ match: { prefix: /%c0%af }, cluster: app }"), /can never match/],
  ["dots in a path", withRoutes("{ match: { path: /a/../b }, cluster: app }"), /can never match/],
  ["an encoded NUL", withRoutes('{ match: { prefix: "/a%00" }, cluster: app }'), /can never match/],
  [
    "slashes that the listener merges",
    withRoutes("{ match: { prefix: //a }, cluster: app }").replace("routes:", "path: { mergeSlashes: true }, routes:"),
    /"\/\/a" can never match/,
  ],
  [
    "a slash that the listener decodes",
    withRoutes("{ match: { path: /a%2fb }, cluster: app }").replace(
      "routes:",
      "path: { encodedSlash: decode }, routes:",
    ),
    /"\/a%2Fb" can never match/,
  ],
  ["a backreference", withRoutes('{ match: { regex: "(a)\\\\1" }, cluster: app }'), /RE2's syntax/],
  [
    "a regex that is too large",
    withRoutes('{ match: { regex: "a{900}b{900}c{900}" }, cluster: app }'),
    /steps, expected at most/,
  ],
  ["an address without port", BASE.replace('":8080"', "127.0.0.1"), /has no port, expected 127\.0\.0\.1:port/],
  ["IPv6 without brackets", BASE.replace('":8080"', '"::1"'), /has no port, expected \[::1\]:port/],
  ["a relative socket", BASE.replace('":8080"', "unix:a.sock"), /not an absolute path/],
  ["a URL for an endpoint", BASE.replace("127.0.0.1:9001", "http://a:1"), /is a URL, expected only host and port/],
  ["an endpoint without host", BASE.replace("127.0.0.1:9001", '":9001"'), /an address with a port/],
  ["an endpoint twice", BASE.replace("9002", "9001"), /4:25: .*duplicate endpoint/],
  ["port 0 of an endpoint", BASE.replace("9002", "0"), /port 0 is outside 1 to 65535/],
  ["a weight of 0", BASE.replace("127.0.0.1:9002", "{ address: 127.0.0.1:9002, weight: 0 }"), /from 1 to 1000/],
  [
    "a plugin without module",
    `${BASE}plugins: { x: {} }`,
    /5:15: plugins\.x: no module is given, expected "wasm" or "source" \(a built-in plugin is used by its name/,
  ],
  ["a map for a word", `${BASE}workers: {}`, /invalid value \(a map\): expected a whole number/],
  ["a word for a map", `${BASE}log: info`, /invalid value "info": expected a map/],
  ["nothing for a word", `${BASE}workers:`, /missing value/],
  ["a key twice", `${BASE}  app: []`, /5:3: clusters\.app: duplicate key "app", first in line 4/],
  ["a bad name", BASE.replace("app: [", '"a b": [1.1.1.1:1]\n  app: ['), /a name of letters/],
  ["an empty file", "", /1:1: the key "listeners" is missing/],
  ["an unknown tag", `${BASE}workers: !x 1`, /not valid YAML: unresolved tag/],
  ["two documents", `${BASE}---\n${BASE}`, /^s\.yaml:5:1: a second document begins here: expected one in a file$/],
  ["an unknown alias", `${BASE}workers: *x`, /unknown alias "\*x"/],
  [
    "a fetch target with a path",
    `${BASE}plugins: { x: { wasm: a, allow: { fetch: ["https://a.example/x"] } } }`,
    /cluster:NAME, endpoint, or an origin/,
  ],
  [
    "a check by nothing",
    cluster("health: { active: {} }"),
    /active: expected one of the keys http, grpc, tcp, udp, plugin, found none/,
  ],
  ["a check by two", cluster("health: { active: { http: /, tcp: true } }"), /found http and tcp/],
  ["a check by no plugin", cluster("health: { active: { plugin: doc } }"), /plugin: unknown health check "doc"/],
  [
    "a check by a filter",
    cluster("health: { active: { plugin: cors } }"),
    /"cors" is a filter, expected a health check/,
  ],
  [
    "a check without connecting",
    cluster("health: { active: { tcp: false } }"),
    /4:64: .*active\.tcp: invalid value "false": expected true/,
  ],
  [
    "a path that is none",
    cluster("health: { active: { http: healthz } }"),
    /active\.http: .*a path that begins with \//,
  ],
  [
    "a path that no request can have",
    cluster("health: { active: { http: /%zz } }"),
    /active\.http: .*a path that begins/,
  ],
  ["a path with a space", cluster('health: { active: { http: "/a b" } }'), /4:65: .*in visible ASCII/],
  ["a line in a path", cluster('health: { active: { http: "/a\\r\\nx: y" } }'), /in visible ASCII/],
  [
    "a line in a host",
    cluster('health: { active: { http: { path: /, host: "a\\r\\nb" } } }'),
    /host: .*a host such as/,
  ],
  ["a method of its own", cluster("health: { active: { http: { path: /, method: POST } } }"), /one of GET, HEAD/],
  ["an interim status", cluster("health: { active: { http: { path: /, status: 1xx } } }"), /a class from 2xx to 5xx/],
  ["checks too often", cluster("health: { active: { tcp: true, interval: 1ms } }"), /from 100ms to 1h/],
  ["too much to expect", cluster(`health: { active: { tcp: { expect: ${"a".repeat(1025)} } } }`), /of 0 to 1024 bytes/],
  ["a threshold of 0", cluster("health: { active: { tcp: true, healthyAfter: 0 } }"), /from 1 to 100/],
  ["a success that is a failure", cluster("health: { passive: { statuses: [404] } }"), /from 500 to 599/],
  ["no failure that ejects", cluster("health: { passive: { consecutiveFailures: 0 } }"), /from 1 to 1000/],
  ["a share without a sign", cluster("health: { passive: { maxEjected: 50 } }"), /a share from 0% to 100%/],
  ["a fetch from no cluster", `${BASE}plugins: { x: { wasm: a, allow: { fetch: ["cluster:nope"] } } }`, /nope/],
];
for (const [what, text, message] of wrong) test(`refuses ${what}`, () => complainOnce(text, message));

test("paths are normalised like those of requests", () => {
  const text = withRoutes(
    "{ match: { path: /caf%c3%a9/%7e }, cluster: app }",
    '{ match: { prefix: "/é/." }, cluster: app }',
    "{ match: { prefix: /b/.. }, cluster: app }",
  ).replace(/app: \[.*\]/, "app: { endpoints: [127.0.0.1:9001], health: { active: { http: /a/../%7e?%7e } } }");
  const { listeners, clusters } = load(text);
  assert.deepEqual(
    listeners[0]!.routes.map(({ match }) => match.path ?? match.prefix),
    ["/caf%C3%A9/~", "/%C3%A9/.", "/b/.."],
  );
  const probe = clusters[0]!.health.active!.probe;
  assert.equal(probe.kind === "http" && probe.path, "/~?%7e");
});

test("a custom plugin replaces a built-in one of the same name", () => {
  const config = load(`${listener("chain: [random]")}plugins: { random: { wasm: a.wasm } }`);
  assert.equal(config.listeners[0]?.chain[0]?.name, "random");
});

test("an empty map may be written without braces, as when all its keys are commented out", () => {
  assert.deepEqual(load(`plugins:\n  # x: { wasm: a }\n${BASE}`).plugins, []);
});

test("a required map must have a value: a file cut off behind its key removes no listener", () => {
  for (const text of ["listeners:", "listeners:\n", "listeners: ~\n", "listeners: # web\n"])
    complainOnce(text, /^s\.yaml:1:1\d: listeners: missing value: expected a map; \{\} is an empty one$/);
  assert.deepEqual(load("listeners: {}").listeners, []);
});

test("variables work for values of every type", () => {
  const text = `
workers: \${WORKERS}
listeners:
  web: { address: "127.0.0.1:\${PORT}", cluster: \${CLUSTER:-app}, limits: { headers: "\${N:-7}" } }
clusters:
  app: [ \${FIRST}, "\${EMPTY:-127.0.0.1:2}" ]
plugins:
  x: { wasm: a, config: { plain: \${N}, quoted: "\${N}", flag: \${YES}, escaped: "$\${N}", list: \${L:-[a, b]} } }
`;
  const env = { WORKERS: "3", PORT: "81", FIRST: "127.0.0.1:1", EMPTY: "", N: "7", YES: "true" };
  const config = load(text, env);
  assert.equal(config.workers, 3);
  assert.equal(config.listeners[0]?.address.port, 81);
  assert.equal(config.listeners[0]?.limits.headers, 7);
  assert.deepEqual(
    config.clusters[0]?.endpoints.map(({ address }) => address.text),
    ["127.0.0.1:1", "127.0.0.1:2"],
  );
  assert.deepEqual(plainValue(config.plugins[0]?.config), {
    plain: "7",
    quoted: "7",
    flag: "true",
    escaped: `$${"{N}"}`,
    list: "[a, b]",
  });
});

test("a variable is one value, never YAML", () => {
  const text = `${BASE}plugins: { x: { wasm: a, config: { v: \${V} } } }`;
  for (const value of [
    "a: b",
    "}, evil: 1",
    "&a",
    "# no",
    "x\ny: 1",
    "'",
    '"',
    "[x]",
    "*a",
    "null",
    "~",
    "",
    "7",
    "1.10",
    "true",
    `$${"{V}"}`,
  ])
    assert.deepEqual(plainValue(load(text, { V: value }).plugins[0]?.config), { v: value });
});

test("a variable without value is one problem, at its place", () => {
  complainOnce(`workers: \${NOPE}\n${BASE}`, /^s\.yaml:1:10: workers: the environment variable NOPE is not set/);
  complainOnce(`workers: "\${NOPE"\n${BASE}`, /without a variable's name and "\}" after it/);
});

test("aliases and merge keys work; the map's own keys take precedence", () => {
  const config = load(`${BASE}
  one: &one { strategy: random, timeouts: { connect: 1s }, endpoints: &list [127.0.0.1:1] }
  two: { <<: *one, strategy: ip-hash }
  three: { <<: [{ strategy: ip-hash }, *one] }
  four: *list
`);
  const [, one, two, three, four] = config.clusters;
  assert.deepEqual(
    [one, two, three].map((c) => c?.strategy[0]?.name),
    ["random", "ip-hash", "ip-hash"],
  );
  assert.deepEqual(
    [one, two, three].map((c) => c?.timeouts.connect),
    [1000, 1000, 1000],
  );
  assert.equal(four?.endpoints[0]?.address.text, "127.0.0.1:1");
});

test("aliases that expand to too much, or to themselves, are rejected", () => {
  const bomb = Array.from({ length: 9 }, (_, i) => `  b${i}: &b${i} [${Array(9).fill(i === 0 ? "x" : `*b${i - 1}`)}]`);
  assert.match(
    complain(`${BASE}${bomb.join("\n")}\n`).join("\n"),
    /more than 100000 values, those of an alias counted each time: expected fewer/,
  );
  assert.match(complain(`${BASE}plugins: { x: { wasm: a, config: &c [*c] } }`).join("\n"), /"\*c" is within the value/);
  assert.match(complain("[".repeat(50_000)).join("\n"), /not valid YAML/);
});

test("unreachable routes are rejected", () => {
  const cover: [earlier: string, later: string][] = [
    ["", "path: /a"],
    ["", ""],
    ["prefix: /", "prefix: /api/"],
    ["scheme: https", "scheme: https, host: a"],
    ["prefix: /a", "path: /ab"],
    ['host: "*.a.b"', "host: x.a.b"],
    ['host: "*.a.b"', 'host: "*.c.a.b"'],
    ["method: [GET, POST]", "method: GET, path: /a"],
    ["headers: { a: 1 }", "headers: { a: 1, b: 2 }"],
    ["query: { a: 1 }", "query: { a: 1, b: 2 }"],
    ['regex: "/a.*"', 'regex: "/a.*", method: GET'],
    ["cookie: { a: 1 }", "cookie: { a: 1, b: 2 }"],
    ["client: 10.0.0.0/8", "client: [10.1.0.0/16, 10.2.0.1]"],
    ['client: ["::/0", 10.0.0.1]', 'client: ["fd00::/8", 10.0.0.1/32], path: /'],
    ['sni: ["*.b.example", c.example]', "sni: [x.b.example]"],
    ["not: { path: /ab }", "not: { prefix: /a }"],
    ["not: [{ method: GET, path: /a }]", "not: [{ method: [GET, POST] }, { host: a }]"],
    ["", "not: { path: /a }"],
    ["path: [/a, /b]", "path: /a"],
    ["prefix: [/a, /b]", "path: [/ab, /b]"],
    ['host: ["*.b.example", c.example]', "host: [c.example, x.b.example]"],
    ["scheme: [http, https]", "scheme: http"],
    ["regex: [/a+, /b+]", "regex: /a+"],
    ["headers: { a: [{ prefix: b }, c] }", "headers: { a: [bc, { prefix: bb }] }"],
    ["query: { a: { present: true } }", "query: { a: [b, { regex: c }, { prefix: d }] }"],
    ["cookie: { a: [{ regex: b }, { present: false }] }", "cookie: { a: { present: false } }"],
  ];
  const both = (a: string, b: string) =>
    withRoutes(`{ match: { ${a} }, cluster: app }`, `{ match: { ${b} }, cluster: app }`);
  for (const [earlier, later] of cover)
    complainOnce(both(earlier, later), /routes\.1: unreachable route: route 0 matches/);
  for (const [earlier, later] of cover) if (later !== "") load(both(later, earlier));
  const apart: [earlier: string, later: string][] = [
    ["scheme: https", "scheme: http"],
    ["cookie: { a: 1 }", "headers: { cookie: a=1 }"],
    ["client: 10.0.0.0/8", "client: [10.1.0.0/16, 11.0.0.1]"],
    ["client: 10.0.0.0/8", "path: /a"],
    ["client: 0.0.0.0/0", 'client: "::/0"'],
    ["sni: a.example", "host: a.example"],
    ["not: { path: /a }", "path: /a"],
    ["not: { prefix: /a }", "not: { path: /a }"],
    ["not: { path: /a }", "not: { path: /b }"],
    ["not: { path: /a }", ""],
    ["path: [/a, /b]", "path: [/a, /c]"],
    ["prefix: [/a, /b]", "prefix: /"],
    ["headers: { a: { present: true } }", "headers: { a: { present: false } }"],
    ["headers: { a: { present: true } }", "headers: { a: [b, { present: false }] }"],
    ["headers: { a: { prefix: b } }", "headers: { a: { regex: b } }"],
    ["headers: { a: { regex: '.*' } }", "headers: { a: b }"],
    ["headers: { a: { present: false } }", ""],
  ];
  for (const [earlier, later] of apart) load(both(earlier, later));
  for (const never of ["not: {}", 'host: x.b, not: { host: "*.b" }', "path: /a, method: GET, not: [{ path: /a }]"])
    complainOnce(both(never, ""), /routes\.0: unreachable route: `not` excludes all of its requests/);
  for (const local of ["respond: { body: a }", 'redirect: { to: "/b" }'])
    complainOnce(
      withRoutes(`{ match: { path: /a, not: { prefix: / } }, ${local} }`),
      /`not` excludes all of its requests/,
    );
  const router = withRoutes("{ router: x, clusters: [app] }", "{ cluster: app }");
  load(`${router}plugins: { x: { wasm: a } }`);
});

test("a redirect to a host excludes it as clients send it", () => {
  for (const [host, sent] of [
    ["WWW.example.com", "www.example.com"],
    ["www.example.com.", "www.example.com"],
    ["[0:0::1]", "[::1]"],
    ["127.0.0.1", "127.0.0.1"],
  ]) {
    const { listeners } = load(withRoutes(`{ redirect: { host: "${host}" } }`, "{ cluster: app }"));
    assert.deepEqual(listeners[0]?.routes[0]?.match.not, [{ host: sent }]);
  }
});

test("two listeners cannot share an address, nor one the admin interface's", () => {
  const second = (address: string) =>
    BASE.replace("clusters:", `  two: { address: "${address}", cluster: app }\nclusters:`);
  for (const address of [":8080", "0.0.0.0:8080", "[::]:8080"])
    complainOnce(second(address), /listeners\.two: the address .* belongs to the listener "web"/);
  complainOnce(second("127.0.0.1:9901"), /belongs to the admin interface/);
  load(second("127.0.0.1:8080"));
  load(second(":0").replace(":8080", ":0"));
});

test("paths and hosts are normalised like those of requests", () => {
  const match = (keys: string) =>
    load(withRoutes(`{ match: { ${keys} }, cluster: app }`)).listeners[0]?.routes[0]?.match;
  assert.equal(match('path: "/%7euser/%2f/caf\\u00e9 x"')?.path, "/~user/%2F/caf%C3%A9%20x");
  assert.equal(match("prefix: /.")?.prefix, "/.");
  assert.equal(match("host: B\u00fccher.example")?.host, "xn--bcher-kva.example");
  assert.equal(match('host: "[::1]"')?.host, "[::1]");
  assert.deepEqual(match("not: { prefix: /%7ea/ }, sni: B\u00fccher.example, client: 10.0.0.1, cookie: { a: 1 }"), {
    not: [{ prefix: "/~a/" }],
    sni: ["xn--bcher-kva.example"],
    client: ["10.0.0.1"],
    cookie: { a: "1" },
  });
  assert.deepEqual(match("path: [/%7ea, /b], prefix: [/c], headers: { X-A: [1, { exact: 2 }, { prefix: 3 }] }"), {
    path: ["/~a", "/b"],
    prefix: "/c",
    headers: { "x-a": ["1", "2", { prefix: "3" }] },
  });
  complainOnce(withRoutes("{ match: { path: [/a, /b/../c] }, cluster: app }"), /match\.path\.1.*can never match/);
  complainOnce(withRoutes("{ match: { client: 10.0.0.0/33 }, cluster: app }"), /match\.client.*a block of addresses/);
  complainOnce(withRoutes("{ match: { not: { not: {} } }, cluster: app }"), /match\.not/);
});

test("names of JavaScript's objects are ordinary names", () => {
  const config = load(
    `listeners:\n  constructor: { address: ":1", cluster: toString }\nclusters: { toString: [a:1] }\n`,
  );
  assert.equal(config.listeners[0]?.name, "constructor");
  complainOnce(`${BASE}constructor: 1`, /unknown key "constructor"/);
  complainOnce(listener("chain: [toString]"), /unknown filter "toString"/);
});

test("any text is a configuration or a list of problems with places, never an exception", () => {
  const word = fc.constantFrom(
    "listeners",
    "clusters",
    "plugins",
    "web",
    "app",
    ": ",
    ":",
    "- ",
    "\n",
    "\n  ",
    "\n    ",
    "{",
    "}",
    "[",
    "]",
    ", ",
    "&a",
    "*a",
    "<<",
    `$${"{X}"}`,
    "${",
    '"',
    "'",
    "#",
    "!",
    "|",
    "127.0.0.1:1",
    "cluster",
    "endpoints",
    "address",
    "null",
    "~",
    "\t",
    "é",
    "\r",
    "\u2028",
    "\u202e",
    "\n\n",
  );
  fc.assert(
    fc.property(fc.array(word, { maxLength: 40 }), (words) => {
      const { config, problems } = loadConfig(words.join(""), { file: "s.yaml", env: { X: "1" } });
      assert.equal(config === null, problems.length > 0);
      for (const problem of problems)
        assert.match(formatProblem(problem), /^s\.yaml:[1-9]\d*:[1-9]\d*: [^\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+$/u);
    }),
    { numRuns: 500 },
  );
});

test("traces are off until a token or a sample is configured, and both are validated", () => {
  assert.deepEqual(load(BASE).trace, { header: "x-sluice-debug", sample: 0, keep: 100, mask: [] });
  const { trace } = load(`${BASE}\ntrace: { token: "\${T}", sample: 0.5%, mask: [X-Own] }\n`, {
    T: "0123456789abcdef",
  });
  assert.deepEqual([trace.token, trace.sample, trace.mask], ["0123456789abcdef", 0.005, ["x-own"]]);
  const [problem = ""] = complain(`${BASE}\ntrace: { token: guessable }\n`);
  assert.match(problem, /trace\.token: .*16 to 256/);
  assert.ok(!problem.includes("guessable"), problem);
  complainOnce(`${BASE}\ntrace: { header: Host }\n`, /the header host has another meaning/);
  complainOnce(`${BASE}\ntrace: { sample: 101% }\n`, /expected a share from 0% to 100%/);
});

test("an admin interface that other machines can reach needs a token", () => {
  const token = "0123456789abcdef";
  for (const address of [
    ":9901",
    "0.0.0.0:9901",
    "[::]:9901",
    "10.1.2.3:9901",
    "[fe80::1]:9901",
    "admin.example:9901",
  ]) {
    const [problem = "", ...others] = complain(`${BASE}admin: "${address}"\n`);
    assert.deepEqual(others, []);
    assert.match(
      problem,
      /^s\.yaml:5:8: admin: other machines can reach .* and no token is given: write admin: \{ address: /,
    );
    assert.equal(load(`${BASE}admin: { address: "${address}", token: \${T} }`, { T: token }).admin?.token, token);
  }
  for (const address of ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[0:0::1]:1", "localhost:1", "unix:/run/admin.sock"])
    assert.equal(load(`${BASE}admin: "${address}"\n`).admin?.address?.text, address);
  const short = complain(`${BASE}admin: { token: tooshort12 }`).join("\n");
  assert.match(short, /admin\.token: the token is not of 16 to 256/);
  assert.doesNotMatch(short, /tooshort12/);
  const digits = "0123456789012345678901234567890123456789";
  assert.equal(load(`${BASE}admin: { token: ${digits} }`).admin?.token, digits);
});

test("metrics may have a separate address, with or without the admin interface", () => {
  const both = load(`${BASE}admin: { metrics: ":9902", hosts: [Sluice.Monitoring.svc, "*.internal"] }`).admin;
  assert.deepEqual([both?.address?.text, both?.metrics?.text], ["127.0.0.1:9901", ":9902"]);
  assert.deepEqual(both?.hosts, ["sluice.monitoring.svc", "*.internal"]);
  const alone = load(`${BASE}admin: { address: false, metrics: ":9902" }`).admin;
  assert.deepEqual([alone?.address, alone?.metrics?.port], [null, 9902]);
  assert.equal(load(`${BASE}admin: { address: false }`).admin, null);
  complainOnce(
    `${BASE}admin: { metrics: ":8080" }`,
    /listeners\.web: the address :8080 belongs to the metrics already/,
  );
  complainOnce(`${BASE}admin: { metrics: "127.0.0.1:9901" }`, /admin: .* belongs to the admin interface already/);
});

test("a resolver whose maxTtl is below its minTtl is rejected, defaults included", () => {
  const message = (min: number, max: number) =>
    new RegExp(`resolver: maxTtl \\(${max}ms\\) is below minTtl \\(${min}ms\\), expected at least as much`);
  complainOnce(`${BASE}\nresolver: { minTtl: 10s, maxTtl: 5s }\n`, message(10_000, 5000));
  complainOnce(`${BASE}\nresolver: { minTtl: 10m }\n`, message(600_000, 300_000));
  const { resolver } = load(`${BASE}\nresolver: { minTtl: 5s, maxTtl: 5s }\n`);
  assert.deepEqual([resolver.minTtl, resolver.maxTtl], [5000, 5000]);
});
