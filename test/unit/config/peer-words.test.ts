/** Words of other proxies in the file get the key or the name to write instead. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { BUILTINS } from "../../../src/config/builtins.ts";
import { makeJsonSchema } from "../../../src/config/json-schema.ts";
import { formatProblem, loadConfig } from "../../../src/config/load.ts";
import { adviseKey, KEYS, NAMES } from "../../../src/config/peer-words.ts";

const load = ({ top = "", listener = "", cluster = "" }): string[] =>
  loadConfig(
    `${top}
listeners: { web: { address: ":8080", cluster: app, ${listener} } }
clusters: { app: { endpoints: ["127.0.0.1:9001"], ${cluster} } }`,
    { file: "s", env: {} },
  ).problems.map((problem) => formatProblem(problem).replace(/^s:\d+:\d+: /, ""));

const TLS = "tls: { certificates: [{ cert: a, key: b }],";

const cases: [text: Parameters<typeof load>[0], problem: string][] = [
  [{ top: "upstream: {}" }, 'upstream: unknown key "upstream", write `clusters` at the top of the file'],
  [{ listener: "location: {}" }, 'listeners.web.location: unknown key "location", write `routes` of a listener'],
  [
    { cluster: "http2: true" },
    'clusters.app.http2: unknown key "http2", write `protocol: http2` of a cluster; listeners accept HTTP/2 without a setting',
  ],
  [
    { cluster: "circuit_breakers: {}" },
    'clusters.app.circuit_breakers: unknown key "circuit_breakers", write `health: { passive: … }` of a cluster, and `pool.connections` to limit requests in flight',
  ],
  // A near key is a slip, whatever the word means elsewhere.
  [{ top: "resolver: { server: [] }" }, 'resolver.server: unknown key "server", did you mean "servers"'],
  [
    { cluster: "strategy: leastconn" },
    'clusters.app.strategy: unknown strategy "leastconn", did you mean "least-connections"',
  ],
  [{ cluster: "strategy: P2C" }, 'clusters.app.strategy: unknown strategy "P2C", did you mean "power-of-two"'],
  [
    { listener: "chain: [auth_request]" },
    'listeners.web.chain.0: unknown filter "auth_request", did you mean "ext-auth"',
  ],
  [
    { listener: `${TLS} minVersion: 1.2 }` },
    'listeners.web.tls.minVersion: "1.2" is not known, did you mean "TLSv1.2"',
  ],
  [
    { listener: `${TLS} minVersion: TLS1.3 }` },
    'listeners.web.tls.minVersion: "TLS1.3" is not known, did you mean "TLSv1.3"',
  ],
  [{ cluster: "protocol: http/2" }, 'clusters.app.protocol: "http/2" is not known, did you mean "http2"'],
  [{ cluster: "protocol: h2c" }, 'clusters.app.protocol: "h2c" is not known, did you mean "http2"'],
  [{ cluster: "protocol: grpc" }, 'clusters.app.protocol: "grpc" is not known, did you mean "http2"'],
  [{ cluster: "protocol: https" }, 'clusters.app.protocol: "https" is not known, expected `tls` of the cluster'],
  [
    { listener: "protocol: https" },
    'listeners.web.protocol: "https" is not known, expected http with `tls` of the listener',
  ],
  [
    { listener: "protocol: h2" },
    'listeners.web.protocol: "h2" is not known, expected http, which serves HTTP/2 without a setting',
  ],
  [
    { listener: "limits: { connectionsPerIp: 5 }" },
    'listeners.web.limits.connectionsPerIp: unknown key "connectionsPerIp", write `limits: { connectionsPerClient: … }` of a listener',
  ],
  [
    { listener: "http2: { maxStreams: 5 }" },
    'listeners.web.http2.maxStreams: unknown key "maxStreams", write `http2: { maxConcurrentStreams: … }` of a listener',
  ],
  [
    { listener: "routes: [{ match: { pathPrefix: /a, hostname: b }, cluster: app }]" },
    'listeners.web.routes.0.match.pathPrefix: unknown key "pathPrefix", write `prefix` in `match` of a route',
  ],
  [
    { listener: "routes: [{ direct_response: { status: 200 } }]" },
    'listeners.web.routes.0.direct_response: unknown key "direct_response", write `respond` of a route',
  ],
  [
    { listener: "routes: [{ return: 404 }]" },
    'listeners.web.routes.0.return: unknown key "return", write `respond` or `redirect` of a route',
  ],
  [
    { listener: "routes: [{ cluster: app, retry: { on: [UNAVAILABLE] } }]" },
    'listeners.web.routes.0.retry.on.0: "UNAVAILABLE" is not known, did you mean "unavailable"',
  ],
  [
    { listener: "routes: [{ cluster: app, retry: { on: [deadline_exceeded] } }]" },
    'listeners.web.routes.0.retry.on.0: "deadline_exceeded" is not known, did you mean "deadline-exceeded"',
  ],
  // Keys that are known in another map.
  [{ listener: "match: { host: a }" }, 'listeners.web.match: unknown key "match", write it in a route of `routes`'],
  [
    { listener: "websocket: true" },
    'listeners.web.websocket: unknown key "websocket", write `upgrade` of a route, which allows WebSocket by default',
  ],
  [
    { listener: "routes: [{ cluster: app, tls: {} }]" },
    'listeners.web.routes.0.tls: unknown key "tls", write it in the listener',
  ],
  [
    { listener: "routes: [{ endpoints: [] }]" },
    'listeners.web.routes.0.endpoints: unknown key "endpoints", write it in the cluster',
  ],
  [{ top: "server: {}" }, 'server: unknown key "server", write `listeners`'],
  [{ top: "routes: []" }, 'routes: unknown key "routes", write it in one of `listeners`'],
  [{ top: "endpoints: []" }, 'endpoints: unknown key "endpoints", write it in one of `clusters`'],
  [{ cluster: "ssl: true" }, 'clusters.app.ssl: unknown key "ssl", write `tls` of the cluster'],
  [{ cluster: "tls: { serverName: a }" }, 'clusters.app.tls.serverName: unknown key "serverName", write `sni`'],
  [
    { cluster: "tls: { insecureSkipVerify: true }" },
    'clusters.app.tls.insecureSkipVerify: unknown key "insecureSkipVerify", write `verify: false`',
  ],
  [
    { listener: "routes: [{ cluster: app, rewrite: { strip: /a } }]" },
    'listeners.web.routes.0.rewrite: unknown key "rewrite", write it in `chain: [ … ]`',
  ],
  [
    { listener: "routes: [{ cluster: app, forward_auth: x }]" },
    'listeners.web.routes.0.forward_auth: unknown key "forward_auth", write the filter `ext-auth` in `chain: [ … ]`',
  ],
  [
    { listener: "basicauth: { bob: x }" },
    'listeners.web.basicauth: unknown key "basicauth", write the filter `basic-auth` in `chain: [ … ]`',
  ],
  // A strategy is not part of a chain.
  [
    { listener: "maglev: true" },
    'listeners.web.maglev: unknown key "maglev", expected one of address, protocol, udp, tls, proxyProtocol, allow, deny, timeouts, limits, grpc, http2, path, trustedProxies, halfClose, chain, routes, cluster, respond, redirect',
  ],
  // What Sluice does not have.
  [
    { listener: "routes: [{ cluster: app, gzip: true }]" },
    'listeners.web.routes.0.gzip: unknown key "gzip", which is not available: bodies are forwarded as endpoints encode them',
  ],
  [
    { listener: "file_server: ./public" },
    'listeners.web.file_server: unknown key "file_server", which is not available: files are served by an endpoint',
  ],
  [{ top: "admin: off" }, 'admin: invalid value "off": expected false, or an address such as 127.0.0.1:9901'],
  [
    { listener: "routes: [{ cluster: app, retry: { on: [5xx] } }]" },
    'listeners.web.routes.0.retry.on.0: "5xx" is not known, expected status codes, such as 502, 503, 504',
  ],
  [
    { listener: "routes: [{ cluster: app, retry: { on: [connect-failure] } }]" },
    'listeners.web.routes.0.retry.on.0: "connect-failure" is not known, expected connect',
  ],
  // A value in place of a map or a list.
  [
    { listener: "routes: [{ cluster: app, retry: { on: connect } }]" },
    'listeners.web.routes.0.retry.on: invalid value "connect": expected a list, such as [connect]',
  ],
  [
    { cluster: "health: { active: tcp }" },
    'clusters.app.health.active: invalid value "tcp": expected a map, such as { tcp: … }',
  ],
  [
    { cluster: "pool: 5" },
    'clusters.app.pool: invalid value "5": expected a map with keys such as idle, idleFor, connections, requests, age',
  ],
];

for (const [text, problem] of cases)
  test(problem, () => assert.ok(load(text).includes(problem), load(text).join("\n")));

test("an endpoint that is marked as drained in the file", () => {
  const text = `listeners: { web: { address: ":80", cluster: app } }
clusters: { app: { endpoints: [{ address: "127.0.0.1:9001", drain: true }] } }`;
  assert.deepEqual(loadConfig(text, { file: "s", env: {} }).problems.map(formatProblem), [
    's:2:61: clusters.app.endpoints.0.drain: unknown key "drain", write `sluice drain CLUSTER ENDPOINT` on the command line',
  ]);
});

test("an address in place of a list of endpoints", () => {
  const { problems } = loadConfig(
    'listeners: { web: { address: ":80", cluster: app } }\nclusters: { app: 127.0.0.1:9001 }',
    {
      file: "s",
      env: {},
    },
  );
  assert.deepEqual(problems.map(formatProblem), [
    's:2:18: clusters.app: invalid value "127.0.0.1:9001": expected a map or a list, such as ["127.0.0.1:9001"]',
  ]);
});

test("each key and name that is advised exists", () => {
  const keys = new Set<string>();
  const collect = (schema: unknown): void => {
    if (typeof schema !== "object" || schema === null) return;
    for (const [key, value] of Object.entries(schema)) {
      if (key === "properties") for (const name of Object.keys(value)) keys.add(name);
      collect(value);
    }
  };
  collect(makeJsonSchema());
  for (const [word, advice] of Object.entries(KEYS)) {
    assert.equal(adviseKey(word, []), `write ${advice}`, "is normalised");
    const code = Array.from(advice.matchAll(/`([^`]*)`/g), ([, text]) => text!).join(" ");
    for (const [name] of code.replace(/":\d+"/g, "").matchAll(/[a-zA-Z][\w-]*/g))
      assert.ok(keys.has(name) || name in BUILTINS || name === "http2", `${word}: ${name}`);
  }
  for (const [word, name] of Object.entries(NAMES)) assert.ok(name in BUILTINS, word);
});
