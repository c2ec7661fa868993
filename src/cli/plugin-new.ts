/** `sluice plugin new NAME`: a directory with a plugin to begin with, its test, and a configuration to try it. */
import { existsSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { parseArgs } from "node:util";
import { chooseFreePorts } from "./free-ports.ts";
import { UsageError } from "./usage.ts";

const KINDS = ["filter", "router", "strategy", "health"] as const;
type Kind = (typeof KINDS)[number];
const CALLED: Readonly<Record<Kind, string>> = {
  filter: "filter",
  router: "router",
  strategy: "strategy",
  health: "health check",
};

export async function run(args: string[]): Promise<number> {
  const { directory, kind } = readArguments(args);
  if (existsSync(directory)) throw new Error(`${directory} exists already`);
  await mkdir(directory, { recursive: true });
  const ports = await chooseFreePorts({ web: 8080, admin: 9901, first: 9001, second: 9002 });
  for (const [name, text] of projectFiles(basename(directory), kind, ports))
    await writeFile(join(directory, name), text);
  process.stdout.write(`made ${directory}, a ${CALLED[kind]}; go on with:

  npx sluice plugin test ${directory}
  node ${join(directory, "upstream.mjs")}
  npx sluice dev -c ${join(directory, "sluice.yaml")}    # in another terminal
  curl -i http://127.0.0.1:${ports.web}/
`);
  return 0;
}

function readArguments(args: string[]): { directory: string; kind: Kind } {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: { kind: { type: "string", default: "filter" } },
  });
  const kind = KINDS.find((k) => k === values.kind);
  if (!kind) throw new UsageError(`--kind is one of ${KINDS.join(", ")}, not "${values.kind}"`);
  const [directory, ...rest] = positionals;
  if (directory === undefined || rest.length > 0) throw new UsageError("plugin new takes one NAME");
  const name = basename(directory);
  if (!/^[a-z][a-z0-9-]*$/.test(name))
    throw new UsageError(`a plugin's name has lower-case letters, digits and dashes, not "${name}"`);
  return { directory, kind };
}

/** Of the proxy, its admin interface, and the two upstreams. */
type Ports = Readonly<Record<"web" | "admin" | "first" | "second", number>>;

function projectFiles(name: string, kind: Kind, ports: Ports): [name: string, text: string][] {
  return [
    ["plugin.ts", SOURCES[kind]],
    ["plugin.test.ts", TESTS[kind]],
    ...(SCHEMAS[kind] === null ? [] : [["plugin.schema.json", SCHEMAS[kind]] as [string, string]]),
    ["sluice.yaml", configuration(name, kind, ports)],
    ["upstream.mjs", upstream(ports)],
    ["README.md", readme(name, kind, ports)],
    // For editors and for `asc`; `sluice plugin build` needs neither.
    ["asconfig.json", `${JSON.stringify({ extends: "sluice/sdk/asconfig.json", entries: ["plugin.ts"] }, null, 2)}\n`],
    [
      "tsconfig.json",
      `${JSON.stringify({ extends: "sluice/sdk/tsconfig.json", include: ["*.ts"], exclude: ["*.test.ts"] }, null, 2)}\n`,
    ],
  ];
}

const SOURCES: Readonly<Record<Kind, string>> = {
  filter: `// A filter: greets the upstream, answers one path itself, and hides what the upstream runs on.
import { Config, Request, Response } from "sluice/sdk";

const greeting = Config.string("greeting", "hello");

export function onRequest(req: Request): void {
  if (req.pathStartsWith("/teapot")) req.respond(418, "short and stout\\n");
  else req.headers.set("x-greeting", greeting);
}

export function onResponse(req: Request, res: Response): void {
  res.headers.remove("server");
}
`,
  router: `// A router: those who ask for it get the canary, all others the next rule.
import { Cluster, Request, cluster } from "sluice/sdk";

const canary = cluster("canary"); // an unknown name is refused when the configuration is loaded

export function route(req: Request): Cluster | null {
  return req.headers.is("x-canary", "1") || req.pathStartsWith("/next/") ? canary : null;
}
`,
  strategy: `// A strategy: the endpoint with the least requests in flight for its weight.
import { Endpoints, randomBelow } from "sluice/sdk";

export function pick(endpoints: Endpoints): i32 {
  const count = endpoints.length;
  if (count == 0) return -1;
  // Each thread picks by itself: begin at a random place, or in a quiet time all of them would take the first.
  let best = <i32>randomBelow(count);
  for (let i = 0; i < count; i++) {
    const here = (endpoints.inFlight(i) + 1) * endpoints.weight(best);
    const there = (endpoints.inFlight(best) + 1) * endpoints.weight(i);
    if (here < there) best = i;
  }
  return best;
}
`,
  health: `// A health check: an endpoint is well when it answers, and does not say of itself that it is draining.
import { Config, Endpoint, Json, fromView } from "sluice/sdk";

const path = Config.string("path", "/healthz");

export function onHealthCheck(endpoint: Endpoint): bool {
  const answer = endpoint.fetch(path).send();
  if (answer.status == 0) return endpoint.unhealthy(answer.timedOut ? "no answer in time" : "no answer");
  if (!answer.ok) return endpoint.unhealthy("answered " + answer.status.toString());
  const said = Json.parse(fromView(answer.bytes()));
  if (said !== null) {
    const draining = said.get("draining");
    if (draining !== null && draining.asBool()) return endpoint.unhealthy("is draining");
  }
  return true;
}
`,
};

function upstream({ first, second }: Ports): string {
  return `// node upstream.mjs: two servers to try the plugin on. Each answers with the request that it got.
import { createServer } from "node:http";

for (const port of [${first}, ${second}]) {
  const server = createServer((request, response) => {
    const { method, url, headers } = request;
    response.setHeader("server", "upstream.mjs");
    response.end(\`\${JSON.stringify({ port, method, url, headers }, null, 2)}\\n\`);
  });
  server.listen(port, "127.0.0.1", () => console.log(\`http://127.0.0.1:\${port}/\`));
}
`;
}

/** Of the configuration; null for a kind that has none. */
const SCHEMAS: Readonly<Record<Kind, string | null>> = {
  filter: `{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object",
  "properties": {
    "greeting": { "description": "What the upstream is told.", "type": "string", "default": "hello" }
  },
  "additionalProperties": false
}
`,
  router: null,
  strategy: null,
  health: `{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object",
  "properties": {
    "path": { "description": "What the endpoint is asked for.", "type": "string", "pattern": "^/", "default": "/healthz" }
  },
  "additionalProperties": false
}
`,
};

const TESTS: Readonly<Record<Kind, string>> = {
  filter: `// sluice plugin test: the plugin runs in the proxy's own host, without a network.
import assert from "node:assert/strict";
import { test } from "node:test";
import { plugin } from "sluice/test";

const filter = await plugin("./plugin.ts", { config: { greeting: "good morning" } });

test("greets the upstream", () => {
  const result = filter.request({ url: "http://example.com/", headers: { accept: "text/html" } });
  assert.equal(result.headers["x-greeting"], "good morning");
  assert.deepEqual(result.edits, [{ of: "request", what: "header x-greeting", before: [], after: ["good morning"] }]);
});

test("answers the teapot itself", () => {
  const { response } = filter.request({ url: "/teapot" });
  assert.equal(response?.status, 418);
  assert.equal(response?.body, "short and stout\\n");
});

test("hides what the upstream runs on", () => {
  const answer = filter.response({ status: 200, headers: { server: "nginx", "content-type": "text/html" } });
  assert.deepEqual(answer.headers, { "content-type": "text/html" });
});
`,
  router: `// sluice plugin test: the plugin runs in the proxy's own host, without a network.
import assert from "node:assert/strict";
import { test } from "node:test";
import { plugin } from "sluice/test";

const router = await plugin("./plugin.ts", { clusters: ["app", "canary"] });

test("those who ask for it get the canary", () => {
  assert.equal(router.route({ headers: { "x-canary": "1" } }).cluster, "canary");
  assert.equal(router.route({ url: "/next/page" }).cluster, "canary");
});

test("all others pass to the next rule", () => {
  assert.equal(router.route({ url: "/" }).cluster, null);
});
`,
  strategy: `// sluice plugin test: the plugin runs in the proxy's own host, without a network.
import assert from "node:assert/strict";
import { test } from "node:test";
import { plugin } from "sluice/test";

const strategy = await plugin("./plugin.ts");

test("picks the endpoint with the least load for its weight", () => {
  strategy.update([
    { address: "10.0.0.1:80", inFlight: 3 },
    { address: "10.0.0.2:80", inFlight: 4, weight: 2 },
  ]);
  assert.equal(strategy.pick().endpoint, "10.0.0.2:80");
  assert.equal(strategy.pick({ without: ["10.0.0.2:80"] }).endpoint, "10.0.0.1:80");
});

test("picks none of none", () => {
  strategy.update([]);
  assert.equal(strategy.pick().endpoint, null);
});
`,
  health: `// sluice plugin test: the plugin runs in the proxy's own host, and the test plays the endpoint.
import assert from "node:assert/strict";
import { test } from "node:test";
import { plugin } from "sluice/test";

const load = (answer) => plugin("./plugin.ts", { allow: { fetch: ["endpoint"] }, fetch: answer });

test("an endpoint that answers is healthy", async () => {
  const asked = [];
  const check = await load(({ method, url }) => {
    asked.push(method + " " + url);
    return { body: '{"draining":false}' };
  });
  assert.equal((await check.healthCheckAsync({ address: "10.0.0.1:80" })).healthy, true);
  assert.deepEqual(asked, ["GET endpoint/healthz"]);
});

test("one that drains, fails or is silent is not, and it is told why", async () => {
  for (const [answer, problem] of [
    [{ body: '{"draining":true}' }, "is draining"],
    [{ status: 503 }, "answered 503"],
    [{ delay: 60_000 }, "no answer in time"],
    [null, "no answer"],
  ]) {
    const check = await load(() => answer);
    const result = await check.healthCheckAsync();
    assert.deepEqual([result.healthy, result.problem], [false, problem]);
  }
});
`,
};

function configuration(name: string, kind: Kind, { web, admin, first, second }: Ports): string {
  const use = {
    filter: `  web: { address: 127.0.0.1:${web}, chain: [${name}], cluster: app }`,
    router: `  web:
    address: 127.0.0.1:${web}
    routes:
      - { router: ${name}, clusters: [app, canary] }
      - { cluster: app }`,
    strategy: `  web: { address: 127.0.0.1:${web}, cluster: app }`,
    health: `  web: { address: 127.0.0.1:${web}, cluster: app }`,
  }[kind];
  const clusters = {
    filter: `  app: [127.0.0.1:${first}]`,
    router: `  app: [127.0.0.1:${first}]\n  canary: [127.0.0.1:${second}]`,
    strategy: `  app:
    strategy: ${name}
    endpoints: [127.0.0.1:${first}, { address: 127.0.0.1:${second}, weight: 2 }]`,
    health: `  app:
    health: { active: { plugin: ${name}, interval: 2s, timeout: 1s } }
    endpoints: [127.0.0.1:${first}, 127.0.0.1:${second}]`,
  }[kind];
  const config = {
    filter: "\n    config: { greeting: hello }",
    router: "",
    strategy: "",
    health:
      "\n    config: { path: /healthz }\n    allow: { fetch: [endpoint] } # it may ask the endpoint that it checks, and nobody else",
  }[kind];
  return `# sluice dev -c sluice.yaml: serves, and compiles plugin.ts again whenever it is saved.
admin: 127.0.0.1:${admin}

plugins:
  ${name}:
    wasm: ./plugin.wasm
    source: ./plugin.ts${config}

listeners:
${use}

clusters:
${clusters}
`;
}

function readme(name: string, kind: Kind, { web, admin }: Ports): string {
  return `# ${name}

A ${CALLED[kind]} for Sluice, in AssemblyScript.

\`\`\`sh
npx sluice plugin test .             # plugin.test.ts
npx sluice plugin build .            # plugin.ts → plugin.wasm
npx sluice plugin inspect plugin.wasm
node upstream.mjs                    # something to send to
npx sluice dev -c sluice.yaml        # in another terminal: serves 127.0.0.1:${web}, compiles again on save; http://127.0.0.1:${admin}/ shows its state
curl -i http://127.0.0.1:${web}/
\`\`\`

A request that looks odd makes a test: \`npx sluice explain GET http://127.0.0.1:${web}/ --json > odd.trace.json\`, and \`await guest.replay("./odd.trace.json")\` in plugin.test.ts.
`;
}
