/** `sluice plugin new NAME`: creates a project with an example plugin, its test, and a configuration to try it. */
import { existsSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { parseArgs } from "node:util";
import { chooseFreePorts } from "./free-ports.ts";
import { UsageError } from "./usage.ts";

const KINDS = ["filter", "router", "strategy", "health"] as const;
type Kind = (typeof KINDS)[number];
const KIND_NAMES: Readonly<Record<Kind, string>> = {
  filter: "filter",
  router: "router",
  strategy: "strategy",
  health: "health check",
};

export async function run(args: string[]): Promise<number> {
  const { directory, kind } = readArguments(args);
  if (existsSync(directory)) throw new Error(`${directory} already exists`);
  await mkdir(directory, { recursive: true });
  const ports = await chooseFreePorts({ web: 8080, admin: 9901, first: 9001, second: 9002 });
  for (const [name, text] of projectFiles(basename(directory), kind, ports))
    await writeFile(join(directory, name), text);
  process.stdout.write(`created ${directory}, a ${KIND_NAMES[kind]}. Next steps:

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
  if (!kind) throw new UsageError(`invalid --kind "${values.kind}": expected one of ${KINDS.join(", ")}`);
  const [directory, ...rest] = positionals;
  if (directory === undefined || rest.length > 0) throw new UsageError("plugin new takes one NAME");
  const name = basename(directory);
  if (!/^[a-z][a-z0-9-]*$/.test(name))
    throw new UsageError(`invalid plugin name "${name}": expected lower-case letters, digits and dashes`);
  return { directory, kind };
}

/** Ports of the proxy, its admin interface, and the two endpoints. */
type Ports = Readonly<Record<"web" | "admin" | "first" | "second", number>>;

function projectFiles(name: string, kind: Kind, ports: Ports): [name: string, text: string][] {
  return [
    ["plugin.ts", SOURCES[kind]],
    ["plugin.test.ts", TESTS[kind]],
    ...(SCHEMAS[kind] === null ? [] : [["plugin.schema.json", SCHEMAS[kind]] as [string, string]]),
    ["sluice.yaml", configuration(name, kind, ports)],
    ["upstream.mjs", upstream(ports)],
    ["README.md", readme(name, kind, ports)],
    // For editors and `asc`; `sluice plugin build` does not need them.
    ["asconfig.json", `${JSON.stringify({ extends: "sluice/sdk/asconfig.json", entries: ["plugin.ts"] }, null, 2)}\n`],
    [
      "tsconfig.json",
      `${JSON.stringify({ extends: "sluice/sdk/tsconfig.json", include: ["*.ts"], exclude: ["*.test.ts"] }, null, 2)}\n`,
    ],
  ];
}

const SOURCES: Readonly<Record<Kind, string>> = {
  filter: `// A filter: adds a request header, responds to one path itself, and removes a response header.
import { Config, Request, Response } from "sluice/sdk";

// Read once per guest, when the plugin is loaded.
const greeting = Config.string("greeting", "hello");

export function onRequest(req: Request): void {
  if (req.pathStartsWith("/teapot")) {
    req.respond(418, "short and stout\\n"); // a local response: the request is not forwarded
    return;
  }
  req.headers.set("x-greeting", greeting);
}

export function onResponse(req: Request, res: Response): void {
  res.headers.remove("server");
}
`,
  router: `// A router: selects the cluster "canary" for some requests, and passes others to the next route.
import { Cluster, Request, cluster } from "sluice/sdk";

const canary = cluster("canary"); // throws if there is no such cluster: the configuration is rejected

export function route(req: Request): Cluster | null {
  if (req.headers.is("x-canary", "1") || req.pathStartsWith("/next/")) return canary;
  return null;
}
`,
  strategy: `// A strategy: selects the endpoint with the fewest requests in flight per weight.
import { Endpoints, randomBelow } from "sluice/sdk";

export function pick(endpoints: Endpoints): i32 {
  const count = endpoints.length;
  if (count == 0) return -1;
  // Each worker picks on its own. A random start keeps them from all selecting the first endpoint of an idle cluster.
  let best = <i32>randomBelow(count);
  for (let i = 0; i < count; i++) {
    // Compares load / weight without a division.
    const load = (endpoints.inFlight(i) + 1) * endpoints.weight(best);
    const bestLoad = (endpoints.inFlight(best) + 1) * endpoints.weight(i);
    if (load < bestLoad) best = i;
  }
  return best;
}
`,
  health: `// A health check: an endpoint is healthy if it responds with 2xx and its JSON body does not have "draining": true.
import { Config, Endpoint, Json, fromView } from "sluice/sdk";

const path = Config.string("path", "/healthz");

export function onHealthCheck(endpoint: Endpoint): bool {
  const response = endpoint.fetch(path).send();
  if (response.status == 0) return endpoint.unhealthy(response.timedOut ? "timeout" : "no response");
  if (!response.ok) return endpoint.unhealthy("status " + response.status.toString());
  const body = Json.parse(fromView(response.bytes()));
  if (body !== null) {
    const draining = body.get("draining");
    if (draining !== null && draining.asBool()) return endpoint.unhealthy("is draining");
  }
  return true;
}
`,
};

function upstream({ first, second }: Ports): string {
  return `// node upstream.mjs: starts two HTTP servers to try the plugin. Each returns the received request as JSON.
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

/** Schemas of the configuration; null for a plugin without one. */
const SCHEMAS: Readonly<Record<Kind, string | null>> = {
  filter: `{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object",
  "properties": {
    "greeting": { "description": "Value of the x-greeting header.", "type": "string", "default": "hello" }
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
    "path": { "description": "Path of the request to the endpoint.", "type": "string", "pattern": "^/", "default": "/healthz" }
  },
  "additionalProperties": false
}
`,
};

const TESTS: Readonly<Record<Kind, string>> = {
  filter: `// Run by "sluice plugin test". The plugin runs as in the proxy, without a network.
import assert from "node:assert/strict";
import { test } from "node:test";
import { plugin } from "sluice/test";

const filter = await plugin("./plugin.ts", { config: { greeting: "good morning" } });

test("sets x-greeting", () => {
  const result = filter.request({ url: "http://example.com/", headers: { accept: "text/html" } });
  assert.equal(result.headers["x-greeting"], "good morning");
  assert.deepEqual(result.edits, [{ of: "request", what: "header x-greeting", before: [], after: ["good morning"] }]);
});

test("responds to /teapot", () => {
  const { response } = filter.request({ url: "/teapot" });
  assert.equal(response?.status, 418);
  assert.equal(response?.body, "short and stout\\n");
});

test("removes the server header", () => {
  const response = filter.response({ status: 200, headers: { server: "nginx", "content-type": "text/html" } });
  assert.deepEqual(response.headers, { "content-type": "text/html" });
});
`,
  router: `// Run by "sluice plugin test". The plugin runs as in the proxy, without a network.
import assert from "node:assert/strict";
import { test } from "node:test";
import { plugin } from "sluice/test";

const router = await plugin("./plugin.ts", { clusters: ["app", "canary"] });

test("selects the canary by header or path", () => {
  assert.equal(router.route({ headers: { "x-canary": "1" } }).cluster, "canary");
  assert.equal(router.route({ url: "/next/page" }).cluster, "canary");
});

test("passes other requests to the next route", () => {
  assert.equal(router.route({ url: "/" }).cluster, null);
});
`,
  strategy: `// Run by "sluice plugin test". The plugin runs as in the proxy, without a network.
import assert from "node:assert/strict";
import { test } from "node:test";
import { plugin } from "sluice/test";

const strategy = await plugin("./plugin.ts");

test("picks the endpoint with the lowest load per weight", () => {
  strategy.update([
    { address: "10.0.0.1:80", inFlight: 3 },
    { address: "10.0.0.2:80", inFlight: 4, weight: 2 },
  ]);
  assert.equal(strategy.pick().endpoint, "10.0.0.2:80");
  assert.equal(strategy.pick({ without: ["10.0.0.2:80"] }).endpoint, "10.0.0.1:80");
});

test("picks none from an empty list", () => {
  strategy.update([]);
  assert.equal(strategy.pick().endpoint, null);
});
`,
  health: `// Run by "sluice plugin test". The plugin runs as in the proxy, without a network; "fetch" responds for the endpoint.
import assert from "node:assert/strict";
import { test } from "node:test";
import { plugin } from "sluice/test";

const load = (fetch) => plugin("./plugin.ts", { allow: { fetch: ["endpoint"] }, fetch });

test("an endpoint that responds is healthy", async () => {
  const requests = [];
  const check = await load(({ method, url }) => {
    requests.push(method + " " + url);
    return { body: '{"draining":false}' };
  });
  assert.equal((await check.healthCheckAsync({ address: "10.0.0.1:80" })).healthy, true);
  assert.deepEqual(requests, ["GET endpoint/healthz"]);
});

test("an endpoint that drains, fails or times out is unhealthy", async () => {
  for (const [response, problem] of [
    [{ body: '{"draining":true}' }, "is draining"],
    [{ status: 503 }, "status 503"],
    [{ delay: 60_000 }, "timeout"],
    [null, "no response"],
  ]) {
    const check = await load(() => response);
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
      "\n    config: { path: /healthz }\n    allow: { fetch: [endpoint] } # subrequests to the endpoint under check only",
  }[kind];
  return `# Run by "sluice dev -c sluice.yaml", which rebuilds the plugin when plugin.ts is saved.
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

A ${KIND_NAMES[kind]} for Sluice, in AssemblyScript.

\`\`\`sh
npx sluice plugin test .             # plugin.test.ts
npx sluice plugin build .            # plugin.ts → plugin.wasm
npx sluice plugin inspect plugin.wasm
node upstream.mjs                    # two servers to try the plugin on
npx sluice dev -c sluice.yaml        # in another terminal: the proxy on 127.0.0.1:${web}, status page http://127.0.0.1:${admin}/; rebuilds on save
curl -i http://127.0.0.1:${web}/
\`\`\`

To turn a request into a test, record a trace by \`npx sluice explain GET http://127.0.0.1:${web}/ --json > case.trace.json\`, and replay it by \`await guest.replay("./case.trace.json")\` in plugin.test.ts.
`;
}
