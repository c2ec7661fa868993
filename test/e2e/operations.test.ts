/** docs/operations.md is accurate: metrics, admin responses, and the files in deploy/. */
import assert from "node:assert/strict";
import { execFile, spawnSync } from "node:child_process";
import { globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { before, test } from "node:test";
import { promisify } from "node:util";
import { loadConfig } from "../../src/config/load.ts";
import { TUNNEL_ENDS } from "../../src/net/tunnel.ts";
import { ACCESS_FIELDS, DEFAULT_ACCESS_FIELDS } from "../../src/observe/series.ts";
import { ERROR } from "../../src/proxy/error.ts";
import { compileSource } from "../contract/plugin-harness.ts";
import { containerSetting, containerSteps, readDeployed } from "./deployed.ts";
import { findFreePort } from "./free-port.ts";
import { openSession, request } from "./http2.ts";
import { exchange, startUpstream } from "./peers.ts";
import { type LiveTest, type Ports, type Program, startSluice, testInUsualMode, until } from "./program.ts";

const root = join(import.meta.dirname, "../..");
const page = readFileSync(join(root, "docs/operations.md"), "utf8");
const exec = promisify(execFile);

type Family = { type: string; labels: string[] };

/** The text from the heading `title` to the next of its level or above. */
function section(title: string): string {
  const [, level = "", rest = ""] = new RegExp(`^(#+) ${title}\\n([\\s\\S]*)`, "m").exec(page) ?? [];
  assert.ok(level !== "", `there is a section ${title}`);
  return rest.split(new RegExp(`^#{1,${level.length}} `, "m"))[0]!;
}

function documentedMetrics(): Map<string, Family> {
  const rows = section("Metrics").matchAll(/^\| `(\w+)` \| (counter|gauge|histogram) \| (.*?)\| .+ \|$/gm);
  return new Map(
    Array.from(rows, ([, name, type, labels]) => [
      name!,
      { type: type!, labels: Array.from(labels!.matchAll(/`(\w+)`/g), ([, label]) => label!).sort() },
    ]),
  );
}

/** Metrics as exported, with the label names of their first sample; null where there is none. */
function exportedMetrics(text: string): Map<string, { type: string; labels: string[] | null }> {
  const types = Array.from(text.matchAll(/^# TYPE (\w+) (\w+)$/gm), ([, name, type]) => [name!, type!] as const);
  return new Map(
    types.map(([name, type]) => {
      const sample = new RegExp(`^${name}${type === "histogram" ? "_count" : ""}(?:\\{(.*)\\})? `, "m").exec(text);
      const labels = sample && Array.from((sample[1] ?? "").matchAll(/(\w+)="/g), ([, label]) => label!).sort();
      return [name, { type, labels }];
    }),
  );
}

/** Requests of the admin API with the response shown below them. */
function adminExamples(): { method: string; path: string; body: string | undefined; response: unknown }[] {
  const blocks = section("Admin API").matchAll(/^```sh\ncurl (.*)\n```\n(?:\n```json\n([\s\S]*?)^```\n)?/gm);
  return Array.from(blocks, ([, command, response]) => ({
    method: /-X (\w+)/.exec(command!)?.[1] ?? "GET",
    path: /http:\/\/127\.0\.0\.1:9901(\S+)/.exec(command!)![1]!,
    body: /-d '(.*)'/.exec(command!)?.[1],
    response: response === undefined ? undefined : JSON.parse(response),
  }));
}

/** Keys that depend on what happened: only values of those that both have are compared. */
const MAPS = ["statuses", "failedAttempts", "failuresByReason", "relayed", "refused", "limits"];

/** Fails unless `actual` has the form of `shown`: the same keys, and values of the same type. */
function assertSameForm(actual: unknown, shown: unknown, where: string, isMap = false): void {
  if (shown === null || actual === null) return;
  assert.equal(typeof actual, typeof shown, where);
  if (Array.isArray(shown)) {
    assert.ok(Array.isArray(actual), where);
    if (shown.length > 0)
      for (const [index, one] of [...shown.slice(1), ...actual].entries())
        assertSameForm(one, shown[0], `${where}[${index}]`);
  } else if (typeof shown === "object") {
    const [is, like] = [actual as Record<string, unknown>, shown as Record<string, unknown>];
    if (!isMap) assert.deepEqual(Object.keys(is).sort(), Object.keys(like).sort(), where);
    for (const key of Object.keys(like))
      if (key in is && key !== "match") assertSameForm(is[key], like[key], `${where}.${key}`, MAPS.includes(key));
  }
}

const PROBE = `import { Connection, Request, counter, kv, log, sleep } from "sluice/sdk";
const own = counter("probe_requests_total", "Requests seen by the plugin.");
const store = kv("probe");
export function onConnection(connection: Connection): void {}
export function onRequest(req: Request): void {
  own.add(1);
  store.set("key", "value");
  if (req.pathIs("/api/fail")) throw new Error("failed as asked");
  if (req.pathIs("/api/busy")) sleep(300);
  if (req.pathIs("/api/talk")) for (let i = 0; i < 20; i++) log.info("line " + i.toString());
}`;

let wasm: Uint8Array;
before(async () => {
  wasm = await compileSource(PROBE);
});

/** The page's configuration at free ports, with a plugin that causes counted events. */
function configure(upstreams: readonly number[], refusing: number): (ports: Ports) => string {
  const [, shown = ""] = /```yaml\n(admin: [\s\S]*?)```/.exec(section("Admin API")) ?? [];
  return (ports) =>
    shown
      .replace(
        /^admin:.*\n/,
        "plugins: { probe: { wasm: ./probe.wasm, allow: { kv: [probe] }, limits: { guests: 1 } } }\n",
      )
      .replace("chain: [{ api-key", "chain: [probe, { api-key")
      .replace("127.0.0.1:8080", `127.0.0.1:${ports.web}`)
      .replace("127.0.0.1:9001", `127.0.0.1:${upstreams[0]}`)
      .replace("127.0.0.1:9002", `127.0.0.1:${upstreams[1]}`)
      .replace("127.0.0.1:9003", `127.0.0.1:${refusing}`);
}

async function causeWhatMetricsCount(t: LiveTest, sluice: Program): Promise<void> {
  const get = (path: string) =>
    fetch(`${sluice.url}${path}`, { headers: { "x-api-key": "0123456789abcdef0123" } }).then(({ status }) => status);
  for (let i = 0; i < 4; i++) assert.equal(await get("/api/x"), 200);
  assert.equal(await get("/old/x"), 502);
  assert.equal(await get("/api/fail"), 500);
  assert.equal(await get("/api/talk"), 200);
  const busy = await Promise.all(Array.from({ length: 16 }, () => get("/api/busy")));
  assert.ok(busy.includes(503), `one is rejected: ${busy}`);
  assert.equal(await get("/nowhere"), 404);
  const { status } = await exchange(t, sluice.port, "GET / HTTP/1.1\r\nBad Header: x\r\n\r\n");
  assert.equal(status, 400);
  const session = await openSession(t, sluice.url);
  await request(session, { ":method": "POST", ":path": "/nowhere", "content-type": "application/grpc" });
}

/** Metrics that have lines only after a stuck worker, a quarantine or a rollout: their own tests check the labels. */
const NOT_CAUSED = [
  "sluice_http2_errors_total",
  "sluice_grpc_method_requests_total",
  "sluice_upstream_http2_errors_total",
  "sluice_tls_handshakes_total",
  "sluice_tls_certificate_expiry_seconds",
  "sluice_acme_next_order_seconds",
  "sluice_tls_ocsp_expiry_seconds",
  "sluice_connections_refused_total",
  "sluice_tunnels_ended_total",
  "sluice_relay_connections_total",
  "sluice_protocols_detected_total",
  "sluice_proxy_protocol_headers_total",
  "sluice_bandwidth_pauses_total",
  "sluice_udp_datagrams_dropped_total",
  "sluice_plugin_refused_total",
  "sluice_plugin_rollout_percent",
  "sluice_plugin_rollout_requests",
  "sluice_plugin_rollout_failures",
  "sluice_plugin_rollouts_total",
  "sluice_worker_restarts_total",
  "nodejs_active_requests",
];

testInUsualMode(
  "every metric exported is documented with its type and labels, and every documented one exported; admin responses have the form shown",
  async (t) => {
    const upstreams = [
      await startUpstream(t, (_, response) => response.end("ok")),
      await startUpstream(t, (_, response) => response.end("ok")),
    ];
    const sluice = await startSluice(
      t,
      configure(
        upstreams.map(({ port }) => port),
        await findFreePort(),
      ),
      {
        files: { "probe.wasm": wasm },
      },
    );
    await causeWhatMetricsCount(t, sluice);
    await until(async () => (await sluice.metric("sluice_health_checks_total")) > 0, "endpoints are checked");
    const exported = exportedMetrics((await sluice.ask("/metrics")).text);
    assert.ok(exported.delete("probe_requests_total"), "the plugin's own");
    const documented = documentedMetrics();
    assert.ok(documented.size > 40);
    assert.deepEqual([...exported.keys()].sort(), [...documented.keys()].sort());
    for (const [name, { type, labels }] of exported) {
      assert.equal(documented.get(name)!.type, type, name);
      if (labels === null) assert.ok(NOT_CAUSED.includes(name) || name.startsWith("nodejs_"), `${name} has a sample`);
      else assert.deepEqual(documented.get(name)!.labels, labels, name);
    }

    const examples = adminExamples();
    assert.ok(examples.length >= 9);
    for (const { method, path, body, response } of examples) {
      const init = { method, ...(body !== undefined && { body, headers: { "content-type": "application/json" } }) };
      const { status, text } = await sluice.ask(path, init);
      assert.equal(status, 200, `${method} ${path}: ${text}`);
      if (response !== undefined) assertSameForm(JSON.parse(text), response, `${method} ${path}`);
    }
  },
);

/** The names in the first column of a table, by row, with the rest of the row. */
function tableRows(title: string): [names: string[], rest: string][] {
  const rows = section(title).matchAll(/^\| (`[^|]+`) \| (.*) \|$/gm);
  return Array.from(rows, ([, names, rest]) => [names!.split(", ").map((name) => name.slice(1, -1)), rest!]);
}

test("every field of the access log is in the table, the default ones in their order", () => {
  const rows = tableRows("Access log fields");
  const names = rows.flatMap(([names]) => names).filter((name) => !name.includes(":"));
  assert.deepEqual(names.toSorted(), ACCESS_FIELDS.toSorted());
  const marked = rows.filter(([, rest]) => rest.startsWith("* ")).map(([[name]]) => name);
  assert.deepEqual(marked, DEFAULT_ACCESS_FIELDS);
  for (const kind of ["header", "upstream", "response", "proxy"])
    assert.ok(
      rows.some(([[name]]) => name === `${kind}:NAME`),
      kind,
    );
});

test("every outcome code is in the table, with the status of its response", () => {
  const rows = tableRows("Outcome codes");
  const errors = Object.values(ERROR);
  const codes = new Set(["ok", "plugin_response", ...errors.map(({ code }) => code), ...TUNNEL_ENDS]);
  assert.deepEqual(rows.flatMap(([names]) => names).sort(), [...codes].sort());
  for (const { code, status } of errors) {
    // Its response was sent already.
    if (code === "upstream_broken") continue;
    const [, rest] = rows.find(([[name]]) => name === code)!;
    assert.match(rest, new RegExp(`\\(${status}[,)]`), code);
  }
});

test("every path of the admin API is on the page", () => {
  const source = readFileSync(join(root, "src/admin/server.ts"), "utf8");
  const paths = Array.from(source.matchAll(/^ {2}"(\/[\w/*]*)": /gm), ([, path]) => path!);
  assert.ok(paths.length > 10, "found");
  const shown = page.replaceAll("$api", "/api/v1/clusters/app/endpoints");
  for (const path of paths) assert.match(shown, new RegExp(`${path.replaceAll("*", "[\\w.:]+")}(?=[\\s\`])`), path);
});

test("the page describes the format of sluice status", () => {
  const [, shown = ""] = /```\n(degraded, version[\s\S]*?)```/.exec(section("Status")) ?? [];
  // The same patterns as those of status-shows-where-requests-go, which runs the command.
  assert.match(
    shown,
    /^degraded, version \d+, since \S+, pid \d+\n\d+ of \d+ workers serve, \d+ requests in flight\nproblem: /,
  );
  assert.match(
    shown,
    /\nlistener web: \S+, \d+ connections, [\d.]+\/s \(.*\), \d+ requests in all; chain request-id\n/,
  );
  assert.match(shown, /\n {2}route api: prefix \/api\/; chain api-key; to cluster app; /);
  assert.match(
    shown,
    /\n {2}\S+: unhealthy since \S+ \(connection refused\), weight 1, .*, failed attempts: connect_refused \d+\n/,
  );
  assert.match(
    shown,
    /\nplugin api-key: running, \d+ calls, \d+ failures, the last logged at \S+ in request_head: fuel: /,
  );
});

test("every kind of warning that a worker logs is in the table", () => {
  const table = section("Warnings about requests and endpoints");
  const kinds = globSync("src/**/*.ts", { cwd: root }).flatMap((file) =>
    Array.from(readFileSync(join(root, file), "utf8").matchAll(/\.admits\(\s*"(\w+)"/g), ([, kind]) => kind!),
  );
  assert.ok(kinds.length > 5);
  for (const kind of kinds) assert.ok(table.includes(`\n| \`${kind}\` |`), kind);
});

test("the systemd unit and the container file are as the page says", () => {
  const unit = readDeployed("sluice.service");
  const text = section("As a systemd service");
  const settings = [
    "User=sluice",
    "LimitNOFILE=65536",
    "AmbientCapabilities=CAP_NET_BIND_SERVICE",
    "CapabilityBoundingSet=CAP_NET_BIND_SERVICE",
    "NoNewPrivileges=yes",
    "ProtectSystem=strict",
    "LogsDirectory=sluice",
    "StateDirectory=sluice",
    "EnvironmentFile=-/etc/sluice/environment",
    "WorkingDirectory=/etc/sluice",
    "Restart=on-failure",
    "WantedBy=multi-user.target",
  ];
  for (const setting of settings) assert.ok(unit.includes(`\n${setting}\n`), setting);
  for (const said of [
    "user `sluice`",
    "one capability",
    "65,536 file descriptors",
    "`LogsDirectory`",
    "`StateDirectory`",
  ])
    assert.ok(text.includes(said), said);

  const { shutdown, listeners, admin } = loadConfig(readDeployed("sluice.yaml"), { file: "s", env: {} }).config!;
  const stopTimeout = Number(/--stop-timeout (\d+)/.exec(section("In a container"))![1]);
  assert.ok(stopTimeout * 1000 > shutdown.announce + shutdown.grace);
  const ports = [listeners[0]!.address.port, admin!.metrics!.port];
  assert.equal(containerSetting("EXPOSE"), ports.join(" "));
  assert.match(containerSetting("USER"), /^[1-9]\d*:[1-9]\d*$/, "not root");
  const [base, ...steps] = containerSteps("image");
  assert.deepEqual(base, { instruction: "FROM", argument: "debian:stable-slim" });
  assert.ok(
    steps.every(({ instruction }) => instruction !== "RUN"),
    "nothing is installed in the second image",
  );
  assert.ok(steps.some(({ argument }) => argument === "sluice.yaml /etc/sluice/sluice.yaml"));
});

test("the settings for logrotate and the kernel match the page", async (t) => {
  const directory = mkdtempSync(join(tmpdir(), "sluice-operations-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const rotate = readFileSync(join(root, "deploy/logrotate"), "utf8");
  assert.match(rotate, /\n\/var\/log\/sluice\/access\.log \{\n/);
  assert.match(rotate, /--signal=USR1 --kill-whom=main sluice\.service/);
  for (const setting of ["daily", "rotate 14", "delaycompress"])
    assert.ok(rotate.includes(`\n\t${setting}\n`), setting);
  assert.match(section("Log rotation"), /daily, keeps fourteen.*`delaycompress`/s);
  if (spawnSync("logrotate", ["--version"]).error === undefined) {
    const log = join(directory, "access.log");
    const marker = join(directory, "signalled");
    writeFileSync(log, "line\n");
    const local = rotate
      .replaceAll("/var/log/sluice/access.log", log)
      .replace(/\tsu .*\n/, "")
      .replace(/systemctl kill .*/, `echo done > ${marker}`);
    const file = join(directory, "logrotate");
    writeFileSync(file, local, { mode: 0o644 });
    await exec("logrotate", ["--force", "--state", join(directory, "state"), file]);
    assert.equal(readFileSync(`${log}.1`, "utf8"), "line\n");
    assert.equal(readFileSync(marker, "utf8"), "done\n");
  }
  const settings = readFileSync(join(root, "deploy/sysctl.conf"), "utf8").matchAll(/^([\w.]+) = /gm);
  for (const [, name] of settings) assert.match(section("Kernel settings"), new RegExp(`\\| \`${name}\` \\|`));
});
