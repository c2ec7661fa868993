import assert from "node:assert/strict";
import { request } from "node:http";
import { connect } from "node:net";
import { type TestContext, test } from "node:test";
import type {
  CertificateStatus,
  ClusterStatus,
  EndpointStatus,
  ListenerStatus,
  OpenTunnelStatus,
  PluginStatus,
  Status,
} from "../../../src/admin/api.ts";
import { type AdminOptions, startAdmin } from "../../../src/admin/server.ts";
import type { Address } from "../../../src/config/schema.ts";
import { Traces } from "../../../src/control/traces.ts";
import { NO_TRAFFIC } from "../../../src/control/traffic.ts";
import { createLog } from "../../../src/observe/log.ts";

type AdminResponse = { status: number; body: string; headers: NodeJS.Dict<string | string[]> };

const LOCAL: Address = { text: "127.0.0.1:0", host: "127.0.0.1", port: 0, path: "" };
const STATE: Status = {
  ready: true,
  draining: false,
  version: 1,
  startedAt: new Date(0).toISOString(),
  pid: 1,
  requestsInFlight: 0,
  quarantined: [],
  unavailableClusters: [],
  rollouts: [],
  listeners: [{ name: "web", address: "127.0.0.1:8080", https: false, connections: 3 }],
  expiringCertificates: [],
  unstapledCertificates: [],
  expiredRevocationLists: [],
  managedCertificates: [],
  workers: [{ worker: 0, serving: true, guests: 1, loopDelay: 0, restarts: 0 }],
  lastReload: null,
};

const TRAFFIC = {
  requests: 70,
  rate: 12.5,
  statuses: { "2xx": { requests: 60, rate: 12 }, "4xx": { requests: 5, rate: 0 }, "5xx": { requests: 5, rate: 0.5 } },
};
const LISTENER: ListenerStatus = {
  name: "web",
  address: "127.0.0.1:8080",
  protocol: "http",
  tls: null,
  connections: 3,
  bytesReceived: 100,
  bytesSent: 200,
  limits: {},
  refused: {},
  tunnels: { open: 0, oldest: null, bytesReceived: 0, bytesSent: 0 },
  chain: ["request-id", "tenant"],
  traffic: TRAFFIC,
  unrouted: NO_TRAFFIC,
  relayed: null,
  routes: [
    {
      name: "api",
      match: { host: "*.example.com", prefix: "/api/", method: ["GET", "POST"], headers: { "x-beta": "1" } },
      chain: ["headers"],
      router: null,
      clusters: [
        { name: "app", weight: 90 },
        { name: "canary", weight: 10 },
      ],
      traffic: TRAFFIC,
      relayed: null,
    },
    {
      name: "1",
      match: {},
      chain: [],
      router: "beta",
      clusters: [
        { name: "app", weight: null },
        { name: "canary", weight: null },
      ],
      traffic: NO_TRAFFIC,
      relayed: null,
    },
  ],
};
const PLUGIN: PluginStatus = {
  name: "tenant",
  hash: "",
  size: 1,
  hooks: ["request_head"],
  imports: [],
  onFailure: "reject",
  instances: 1,
  state: "running",
  quarantinedWorkers: [],
  calls: 70,
  failures: 1,
  failuresByReason: { fuel: 1 },
  refused: 0,
  lastFailure: { at: "noon", hook: "request_head", reason: "fuel", message: "used up", stack: "", worker: 0 },
  rollout: null,
};

async function start(t: TestContext, parts: Partial<AdminOptions> = {}) {
  let reloads = 0;
  const denied: string[] = [];
  const admin = await startAdmin({
    address: LOCAL,
    metricsAddress: null,
    access: () => ({ token: null, hosts: [] }),
    onDenied: (client, reason) => denied.push(`${client}: ${reason}`),
    log: createLog("silent"),
    metrics: { contentType: "text/plain", render: async () => "sluice_config_version 1\n" },
    status: () => STATE,
    config: () => ({ text: "listeners: {}" }),
    traces: new Traces(1),
    explain: async () => ({ problem: "not here" }),
    changeEndpoint: () => ({ status: 404, problem: "not here" }),
    listeners: () => [],
    clusters: () => [],
    plugins: () => [],
    tunnels: async () => ({ open: 0, tunnels: [], silentWorkers: [] }),
    reload: async () => {
      reloads++;
      return { result: "accepted" };
    },
    ...parts,
  });
  t.after(() => admin.close());
  const url = admin.url ?? "";
  const call = (method: string, path: string, headers: Record<string, string> = {}, base = url) => {
    const { promise, resolve, reject } = Promise.withResolvers<AdminResponse>();
    request(new URL(path, base), { method, headers, agent: false }, (response) => {
      let body = "";
      response.setEncoding("utf8").on("data", (chunk: string) => {
        body += chunk;
      });
      response.on("end", () => resolve({ status: response.statusCode!, body, headers: response.headers }));
    })
      .on("error", reject)
      .end();
    return promise;
  };
  return { call, url, metricsUrl: admin.metricsUrl ?? "", reloads: () => reloads, denied };
}

test("health, readiness and metrics respond as probes expect", async (t) => {
  const state = { ready: false, draining: true, version: 1, quarantined: ["auth"] };
  const { call } = await start(t, { status: () => ({ ...STATE, ...state }) });
  assert.equal((await call("GET", "/health")).status, 200);
  const waiting = await call("GET", "/ready");
  assert.equal(waiting.status, 503);
  assert.deepEqual(JSON.parse(waiting.body), state);
  state.ready = true;
  assert.equal((await call("GET", "/ready")).status, 200);
  const metrics = await call("GET", "/metrics?name=x");
  assert.equal(metrics.body, "sluice_config_version 1\n");
});

test("unknown paths and methods have their status", async (t) => {
  const { call } = await start(t);
  assert.equal((await call("GET", "/nowhere")).status, 404);
  assert.equal((await call("GET", "/constructor")).status, 404);
  const wrong = await call("POST", "/api/v1/status");
  assert.equal(wrong.status, 405);
  assert.equal(wrong.headers.allow, "GET");
  assert.equal((await call("GET", "/api/v1/reload")).status, 405);
});

/** A cluster as the interface describes it, whose endpoints have these parts. */
function clusterOf(endpoints: readonly Partial<EndpointStatus>[], parts: Partial<ClusterStatus> = {}): ClusterStatus {
  const figures = { weight: 1, zone: "", inFlight: 0, responses: 0, latency: 0, errorRate: 0, failedAttempts: {} };
  const states = { address: "a:1", state: "healthy", healthy: true, health: null, ejection: null } as const;
  return {
    name: "app",
    strategies: ["round-robin"],
    usable: 1,
    panic: false,
    traffic: NO_TRAFFIC,
    relayed: {},
    endpoints: endpoints.map((endpoint) => ({ ...figures, ...states, ...endpoint })),
    unresolved: [],
    set: { version: 1, changedAt: "noon" },
    sources: [],
    ...parts,
  };
}

const HEALTH = { state: "unhealthy", checked: true, since: "noon", lastCheck: null, history: [] } as const;

test("the page shows the state, and external values as text only", async (t) => {
  const evil = "<script>alert('x')</script>&\"";
  const endpoints: Partial<EndpointStatus>[] = [
    { address: evil },
    { address: "a:1", state: "unhealthy", healthy: false, health: { ...HEALTH, problem: evil } },
    { address: "b:1", state: "draining", healthy: false },
  ];
  const { call } = await start(t, {
    status: () => ({ ...STATE, lastReload: { at: "now", result: "rejected", problems: [evil] } }),
    listeners: () => [LISTENER],
    clusters: () => [clusterOf(endpoints, { unresolved: [{ address: "later:1", problem: evil }] })],
  });
  const { status, body, headers } = await call("GET", "/");
  assert.equal(status, 200);
  assert.equal(headers["content-type"], "text/html; charset=utf-8");
  assert.match(body, /127\.0\.0\.1:8080/);
  assert.doesNotMatch(body, /<script/);
  assert.equal(body.split("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;&quot;").length, 5);
  assert.match(body, /<td>later:1<\/td><td>has no address yet \(&lt;script/);
  assert.match(body, /<td>a:1<\/td><td>unhealthy since noon \(&lt;script/);
  assert.match(body, /<td>b:1<\/td><td>draining<\/td>/);
});

test("the page shows the connections and limits of a TCP listener, and the sessions of one of UDP", async (t) => {
  const relayed = { connected: 5, no_endpoint: 1, connect_refused: 1 };
  const route = { ...LISTENER.routes[0]!, traffic: NO_TRAFFIC, relayed };
  const limits = { connections: 10, connectionsPerClient: 2 };
  const refused = { connectionsPerClient: 4 };
  const parts = { traffic: NO_TRAFFIC, chain: [], relayed, routes: [route] };
  const { call } = await start(t, {
    listeners: () => [
      { ...LISTENER, ...parts, protocol: "tcp", limits, refused },
      { ...LISTENER, ...parts, protocol: "udp", address: "udp:127.0.0.1:53" },
    ],
  });
  const { body } = await call("GET", "/");
  const all = "5 connections relayed, 2 not (no_endpoint 1, connect_refused 1)";
  const bytes = "100 bytes received, 200 sent";
  const limited = `${bytes}; limits connectionsPerClient 2; refused: connectionsPerClient 4`;
  assert.ok(body.includes(`<h2>Listener web: 127.0.0.1:8080, 3 of 10 connections, ${all}, ${limited}</h2>`), body);
  assert.ok(body.includes(`<td></td><td>${all}</td></tr>`));
  const sessions = all.replace("connections", "sessions");
  assert.ok(body.includes(`<h2>Listener web: udp:127.0.0.1:53, 3 sessions, ${sessions}, ${bytes}</h2>`));
});

test("the page shows routes with their chains and traffic, failed attempts, and the last failure of a plugin", async (t) => {
  const ejection = { cause: "response_timeout", since: "noon", until: "one", count: 1 };
  const { call } = await start(t, {
    listeners: () => [LISTENER],
    clusters: () => [
      clusterOf([
        { address: "a:1", state: "unchecked" },
        { address: "b:1", state: "ejected", healthy: false, ejection, failedAttempts: { response_timeout: 3 } },
      ]),
    ],
    plugins: () => [PLUGIN],
  });
  const { body } = await call("GET", "/");
  assert.match(body, /<h1 class="good">ready<\/h1>/);
  assert.match(
    body,
    /<h2>Listener web: 127\.0\.0\.1:8080, 3 connections, 12\.5\/s \(2xx 12\.0, 5xx 0\.5\), 70 requests in all, chain request-id → tenant<\/h2>/,
  );
  assert.match(
    body,
    /<td>api<\/td><td>host \*\.example\.com, prefix \/api\/, method GET\|POST, headers x-beta=1<\/td><td>headers<\/td><td>app 90, canary 10<\/td><td>12\.5<\/td><td>12\.0<\/td><td>0<\/td><td>0<\/td><td>0\.5<\/td><td>70<\/td>/,
  );
  assert.match(body, /<td>1<\/td><td>every request<\/td><td><\/td><td>plugin beta: app, canary<\/td>/);
  assert.match(body, /<td>a:1<\/td><td>unchecked<\/td>/);
  assert.match(
    body,
    /<td>b:1<\/td><td>ejected since noon until one \(response_timeout\)<\/td>.*<td>response_timeout 3<\/td>/,
  );
  assert.match(body, /<td>tenant<\/td>.*<td>noon in request_head: fuel: used up<\/td>/);
});

test("a cluster without a usable endpoint or a plugin in quarantine is shown as degraded, and /ready stays 200", async (t) => {
  const { call } = await start(t, {
    status: () => ({ ...STATE, unavailableClusters: ["app"], quarantined: ["auth"] }),
    clusters: () => [clusterOf([], { usable: 0 })],
  });
  const { body } = await call("GET", "/");
  assert.match(body, /<title>sluice: degraded<\/title>/);
  assert.match(body, /<h1 class="bad">degraded<\/h1>/);
  assert.match(body, /<p class="bad">cluster app has no usable endpoint<\/p>/);
  assert.match(body, /<p class="bad">plugin auth is in quarantine<\/p>/);
  assert.match(body, /<h2 class="bad">Cluster app: round-robin, 0 of 0 endpoints usable/);
  assert.doesNotMatch(body, /class="good"/);
  assert.equal((await call("GET", "/ready")).status, 200);
});

test("the page shows certificates, those that expire, and the oldest tunnels", async (t) => {
  const soon: CertificateStatus = {
    listener: "web",
    file: "site.pem",
    names: ["a.example", "<b>"],
    expires: "2027-01-01T00:00:00.000Z",
    days: 12,
    warning: "14 days",
    ocsp: { state: "none", mustStaple: false, until: null, problem: "it names no OCSP responder" },
  };
  const expired: CertificateStatus = { ...soon, file: "old.pem", names: [], days: -3, warning: "expired" };
  const many: CertificateStatus = { ...soon, names: ["a", "b", "c", "d", "e", "f", "g"], days: 80, warning: null };
  const until = "2026-12-01T00:00:00.000Z";
  const good: CertificateStatus = { ...many, ocsp: { ...soon.ocsp, state: "stapled", until, problem: "refused" } };
  const bare: CertificateStatus = { ...soon, ocsp: { state: "failed", mustStaple: true, until: null, problem: "<x>" } };
  const tunnel: OpenTunnelStatus = {
    worker: 0,
    listener: "web",
    cluster: "app",
    endpoint: "a:1",
    client: "192.0.2.1",
    protocol: "<x>",
    openedAt: "noon",
    age: 3_661_000,
    bytesReceived: 7,
    bytesSent: 9,
  };
  const { call } = await start(t, {
    status: () => ({
      ...STATE,
      expiringCertificates: [soon, expired],
      unstapledCertificates: [bare],
      expiredRevocationLists: [{ usedBy: "cluster app", file: "ca.crl", expires: "2026-12-01T00:00:00.000Z" }],
    }),
    listeners: () => [{ ...LISTENER, tls: { certificates: [many, good] } }],
    tunnels: async () => ({ open: 5, tunnels: [tunnel], silentWorkers: [1] }),
  });
  const { body } = await call("GET", "/");
  assert.match(body, /<h1 class="bad">degraded<\/h1>/);
  const old = "listener web: certificate old.pem (no names): expired 3 days ago, at 2027-01-01T00:00:00.000Z";
  assert.ok(body.includes(`<p class="bad">${old}</p>`));
  assert.ok(body.includes("<p>listener web: certificate site.pem (a.example, &lt;b&gt;): expires in 12 days, at "));
  assert.match(body, /<h2>Listener web: 127\.0\.0\.1:8080 \(https\), 3 connections/);
  assert.match(body, /<p>certificate site\.pem \(a, b, c, d, e and 2 more\): expires in 80 days/);
  assert.ok(body.includes(`; OCSP response until ${until}, not refreshed: refused</p>`));
  const unstapled = "listener web: certificate site.pem: no OCSP response for must-staple: &lt;x&gt;";
  assert.ok(body.includes(`<p class="bad">${unstapled}</p>`));
  assert.ok(
    body.includes('<p class="bad">cluster app: revocation list ca.crl expired at 2026-12-01T00:00:00.000Z</p>'),
  );
  assert.match(body, /<h2>Tunnels: 5 open, the oldest 1 listed; no report from worker 1<\/h2>/);
  const cells = ["192.0.2.1", "web", "app", "a:1", "&lt;x&gt;", "1h 1m", "7", "9"];
  assert.ok(body.includes(`<tr>${cells.map((cell) => `<td>${cell}</td>`).join("")}</tr>`));
  assert.equal(JSON.parse((await call("GET", "/api/v1/tunnels")).body).open, 5);
});

test("a page of a thousand routes shows two hundred and links to the API for the others", async (t) => {
  const routes = Array.from({ length: 1000 }, (_, index) => ({ ...LISTENER.routes[0]!, name: `r${index}` }));
  const { call } = await start(t, { listeners: () => [{ ...LISTENER, routes }] });
  const { body } = await call("GET", "/");
  assert.match(body, /<td>r199<\/td>/);
  assert.doesNotMatch(body, /<td>r200<\/td>/);
  assert.match(body, /<p>and 800 more: see \/api\/v1<\/p>/);
  assert.equal(JSON.parse((await call("GET", "/api/v1/listeners")).body)[0].routes.length, 1000);
});

test("a page under a name rebound to this machine is rejected", async (t) => {
  const { call, url } = await start(t);
  const { host, port } = new URL(url);
  for (const good of [host, `localhost:${port}`, `[::1]:${port}`])
    assert.equal((await call("GET", "/api/v1/status", { host: good })).status, 200, good);
  for (const bad of [`evil.example:${port}`, "127.0.0.1.evil.example", "[::1].evil.example", "localhost.evil.example"])
    assert.equal((await call("GET", "/api/v1/status", { host: bad })).status, 403, bad);
});

test("another page's request changes nothing; the interface's own and a program's do", async (t) => {
  const { call, url, reloads } = await start(t);
  for (const origin of ["http://evil.example", "null", "https://127.0.0.1", "http://127.0.0.1"])
    assert.equal((await call("POST", "/api/v1/reload", { origin })).status, 403, origin);
  assert.equal((await call("POST", "/api/v1/reload", { "content-type": "text/plain" })).status, 403);
  assert.equal(reloads(), 0);
  assert.equal((await call("POST", "/api/v1/reload", { origin: new URL(url).origin })).status, 200);
  assert.equal((await call("POST", "/api/v1/reload")).status, 200);
  assert.equal(reloads(), 2);
});

test("a rejected reload responds with its problems, a failing handler without a cause", async (t) => {
  const refused = { result: "rejected", version: 1, problems: ["sluice.yaml:1:1: no"] };
  const { call } = await start(t, {
    reload: async () => refused,
    clusters: () => {
      throw new Error("inner");
    },
  });
  const response = await call("POST", "/api/v1/reload");
  assert.equal(response.status, 422);
  assert.deepEqual(JSON.parse(response.body), refused);
  const failed = await call("GET", "/api/v1/clusters");
  assert.equal(failed.status, 500);
  assert.doesNotMatch(failed.body, /inner/);
});

test("a health check by HTTP/1.0 without Host is not taken for a web page; an empty Host is", async (t) => {
  const { url } = await start(t);
  const statusOf = async (request: string): Promise<string> => {
    const socket = connect(Number(new URL(url).port), "127.0.0.1");
    socket.write(request);
    const text = (await socket.toArray()).join("");
    return text.slice(9, 12);
  };
  assert.equal(await statusOf("GET /health HTTP/1.0\r\n\r\n"), "200");
  assert.equal(await statusOf("GET /health HTTP/1.0\r\nHost:\r\n\r\n"), "403");
  assert.equal(await statusOf("GET /health HTTP/1.1\r\nConnection: close\r\n\r\n"), "400");
});

test("only configured host names reach the interface", async (t) => {
  const hosts = ["sluice.monitoring.svc", "*.internal.example"];
  const { call, denied } = await start(t, { access: () => ({ token: null, hosts }) });
  for (const host of ["sluice.monitoring.svc:9901", "Sluice.Monitoring.SVC", "a.b.internal.example"])
    assert.equal((await call("GET", "/metrics", { host })).status, 200, host);
  for (const host of ["monitoring.svc", "x.sluice.monitoring.svc", "internal.example", "evilinternal.example"])
    assert.equal((await call("GET", "/metrics", { host })).status, 403, host);
  const { body } = await call("GET", "/metrics", { host: "other.svc:9901" });
  assert.match(
    JSON.parse(body).error,
    /other\.svc is not .*: add it to admin\.hosts, as in admin: \{ hosts: \[other\.svc\] \}/,
  );
  assert.equal(denied.length, 5);
  assert.match(denied[4]!, /^127\.0\.0\.1: the host other\.svc /);
});

test("with a token any host name is accepted; only health endpoints need none", async (t) => {
  const token = "0123456789abcdef:x";
  const { call, reloads, denied } = await start(t, { access: () => ({ token, hosts: [] }) });
  const host = "sluice.example";
  const basic = (password: string) => `Basic ${Buffer.from(`any:${password}`).toString("base64")}`;
  for (const path of ["/", "/metrics", "/api/v1/status", "/api/v1/config", "/nowhere"])
    for (const authorization of [
      undefined,
      "",
      "Bearer",
      "Bearer 0123456789abcdef:y",
      `Bearer ${token}x`,
      token,
      basic(""),
    ]) {
      const { status, headers } = await call("GET", path, authorization === undefined ? {} : { authorization });
      assert.deepEqual(
        [status, headers["www-authenticate"]],
        [401, 'Bearer realm="sluice"'],
        `${path} ${authorization}`,
      );
    }
  const refused = denied.length;
  assert.equal(refused, 35);
  for (const path of ["/health", "/ready"]) assert.equal((await call("GET", path, { host })).status, 200);
  for (const authorization of [`Bearer ${token}`, `bearer  ${token}`]) {
    assert.equal((await call("GET", "/metrics", { host, authorization })).status, 200);
    const origin = "https://sluice.example";
    assert.equal((await call("POST", "/api/v1/reload", { host, origin, authorization })).status, 200);
  }
  assert.equal(reloads(), 2);
  // The user of a browser can read with the token as password, but no foreign page can change anything.
  const page = await call("GET", "/", { accept: "text/html,*/*" });
  assert.match(String(page.headers["www-authenticate"]), /^Bearer realm="sluice", Basic realm=/);
  assert.equal((await call("GET", "/", { authorization: basic(token) })).status, 200);
  assert.equal((await call("POST", "/api/v1/reload", { authorization: basic(token) })).status, 403);
  assert.equal((await call("POST", "/api/v1/reload")).status, 401);
  assert.equal(reloads(), 2);
});

test("the address of metrics serves metrics and health, and nothing else", async (t) => {
  const access = () => ({ token: "0123456789abcdef", hosts: ["prometheus.svc"] });
  for (const address of [LOCAL, null]) {
    const { call, metricsUrl, reloads } = await start(t, { address, metricsAddress: LOCAL, access });
    for (const path of ["/metrics", "/health", "/ready"])
      for (const host of ["127.0.0.1", "prometheus.svc:9902"])
        assert.equal((await call("GET", path, { host }, metricsUrl)).status, 200, path);
    for (const path of ["/", "/api/v1/status", "/api/v1/config", "/api/v1/traces", "/api/v1/traces/x"])
      assert.equal((await call("GET", path, {}, metricsUrl)).status, 404, path);
    for (const path of ["/api/v1/reload", "/api/v1/explain"])
      assert.equal(
        (await call("POST", path, { authorization: "Bearer 0123456789abcdef" }, metricsUrl)).status,
        404,
        path,
      );
    assert.equal(reloads(), 0);
    assert.equal(
      (await call("GET", "/metrics", { host: "evil.example" }, metricsUrl)).status,
      403,
      "a page of a browser here",
    );
  }
  const everywhere = await start(t, { metricsAddress: { ...LOCAL, host: "0.0.0.0" }, access });
  const named = await everywhere.call("GET", "/metrics", { host: "any.name" }, everywhere.metricsUrl);
  assert.equal(named.status, 200, "other machines reach it as they like");
});
