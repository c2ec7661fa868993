/** The rules of docs/architecture.md: which module may import which, and what each may do. */
import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { join, posix } from "node:path";
import { test } from "node:test";

const COMPOSERS =
  /^(main\.ts|cli\/.*|compiler\/.*|testing\/.*|control\/(app|admin-interface|shared-memory)\.ts|worker\/.*|proxy\/pipeline\.ts|protocol\/.*)$/;
const FOR_ALL =
  /^(http[12]?\/.*|net\/.*|plan\/.*|abi\/.*|cluster\/(columns|health)\.ts|config\/schema\.ts|plugin\/host\/(outcome|bare-context|hook-context)\.ts|observe\/(series|label-table|plugin-metrics)\.ts|state\/key-value\.ts|worker\/messages\.ts)$/;
const PURE = /^(http[12]?|route|config)\/(?!watch\.ts)/;
const IMPURE =
  /^node:(child_process|cluster|dgram|dns|fs|http2?|https|inspector|net|perf_hooks|process|timers|tls|worker_threads)(\/|$)/;
/** To clients; to endpoints; the main thread's own. */
const SOCKET_OWNERS =
  /^(net\/(accept|dial|probe-connection|tls-alert|tls-client|udp)\.ts|worker\/.*|control\/.*|admin\/.*|observe\/.*|config\/watch\.ts|cli\/.*|testing\/.*)$/;
const OPENERS = /\b(connect|createConnection|createServer|createSocket|request|BoundSocket|Socket|Server)\b|\*/;

/** Lowest first: a module imports, types included, only itself and those before it. So no two are in a cycle. */
const LAYERS = (
  "abi http http1 http2 net observe state config plugin plan route cluster proxy trace protocol worker admin control " +
  "compiler testing cli main.ts"
).split(" ");

const COMMENT = /\/\*[\s\S]*?\*\/|(?<=^|\s)\/\/.*$/gm;
const ANY_IMPORT = /^(?:import|export)\s+[^;"']*?from\s+["'](\.[^"']+)["']|\bimport\(\s*["'](\.[^"']+)["']/gm;
const IMPORT =
  /^(?:import|export)\s+(?!type\b)(?:([^;"']*?)\s+from\s+)?["']([^"']+)["']|\bimport\(\s*["']([^"']+)["']/gm;

/** Violations of one file of `src/`, by its path there and its text. */
function findFaults(path: string, text: string): string[] {
  const code = text.replace(COMMENT, "");
  const faults: string[] = [];
  if (!/^([a-z0-9]+(-[a-z0-9]+)*\/)*[a-z0-9]+(-[a-z0-9]+)*(\.d)?\.ts$/.test(path))
    faults.push("name is not kebab-case");
  if (/^export\s+default\b/m.test(code)) faults.push("default export");
  if (/\bWebAssembly\s*\./.test(code) && !path.startsWith("plugin/")) faults.push("knows WebAssembly");
  if (/\bfetch\(/.test(code) && !SOCKET_OWNERS.test(path)) faults.push("opens sockets by fetch");
  const rank = LAYERS.indexOf(path.split("/")[0]!);
  if (rank < 0) faults.push("is in a module without a layer");
  for (const [, fixed, dynamic] of code.matchAll(ANY_IMPORT)) {
    const target = posix.join(posix.dirname(path), fixed ?? dynamic!);
    if (!target.startsWith("..") && LAYERS.indexOf(target.split("/")[0]!) > rank) faults.push(`is below ${target}`);
  }
  for (const [, names = "*", fixed, dynamic] of code.matchAll(IMPORT)) {
    const from = fixed ?? dynamic ?? "";
    if (from.startsWith("node:")) {
      if (PURE.test(path) && IMPURE.test(from)) faults.push(`is pure but imports ${from}`);
      const opens = /^node:(net|tls|dgram|https?|http2)$/.test(from) && OPENERS.test(names.replace(/\btype \w+/g, ""));
      if (opens && !SOCKET_OWNERS.test(path)) faults.push(`opens sockets by ${from}`);
      // An import reads every export; that of WebSocket loads `fetch`: 45 ms of processor time in each thread.
      if (/^node:https?$/.test(from)) faults.push(`imports ${from}, not by getBuiltinModule`);
    } else if (from.startsWith(".")) {
      const target = posix.join(posix.dirname(path), from);
      const foreign = target.split("/")[0] !== path.split("/")[0];
      if (foreign && !FOR_ALL.test(target) && !COMPOSERS.test(path)) faults.push(`reaches into ${target}`);
    }
  }
  return faults;
}

test("every file of src follows the module rules", () => {
  const src = join(import.meta.dirname, "../../src");
  const files = globSync("**/*.ts", { cwd: src });
  assert.ok(files.length > 0);
  const faults = files.flatMap((file) => {
    const path = file.replaceAll("\\", "/");
    return findFaults(path, readFileSync(join(src, file), "utf8")).map((fault) => `src/${path}: ${fault}`);
  });
  assert.deepEqual(faults, []);
});

/**
 * The exchange and its attempts refer to each other. The snapshot that it holds refers to the connectors, which take
 * attempts.
 */
const EXCHANGE = "attempt exchange snapshot upstream-stream".split(" ").map((name) => `proxy/${name}.ts`);

/** Files in import cycles, types included. */
function findCycles(imports: ReadonlyMap<string, readonly string[]>): string[] {
  const reaches = (from: string): boolean => {
    const seen = new Set<string>();
    for (const open = [from]; open.length > 0; )
      for (const next of imports.get(open.pop()!) ?? []) {
        if (next === from) return true;
        if (!seen.has(next)) open.push(next);
        seen.add(next);
      }
    return false;
  };
  return [...imports.keys()].filter(reaches).sort();
}

test("files form no import cycles, types included, except the exchange and its attempts", () => {
  const src = join(import.meta.dirname, "../../src");
  const imports = new Map<string, string[]>();
  for (const file of globSync("**/*.ts", { cwd: src })) {
    const path = file.replaceAll("\\", "/");
    const code = readFileSync(join(src, file), "utf8").replace(COMMENT, "");
    const targets = [...code.matchAll(ANY_IMPORT)].map(([, fixed, dynamic]) => fixed ?? dynamic!);
    imports.set(
      path,
      targets.map((target) => posix.join(posix.dirname(path), target)),
    );
  }
  assert.deepEqual(findCycles(imports), EXCHANGE.sort());
  const circle = { a: ["b"], b: ["c"], c: ["b"], d: ["a"] };
  assert.deepEqual(findCycles(new Map(Object.entries(circle))), ["b", "c"]);
});

test("the checker finds every violation, and accepts allowed imports", () => {
  assert.deepEqual(findFaults("http/Bad_name.ts", 'export default class {}\nnew WebAssembly.Module(b);\nfetch("x");'), [
    "name is not kebab-case",
    "default export",
    "knows WebAssembly",
    "opens sockets by fetch",
  ]);
  const reaches =
    'import { a } from "../cluster/pool.ts";\nexport * from "../worker/worker.ts";\nimport("../admin/api.ts");';
  assert.deepEqual(findFaults("route/match.ts", reaches), [
    "is below cluster/pool.ts",
    "is below worker/worker.ts",
    "is below admin/api.ts",
    "reaches into cluster/pool.ts",
    "reaches into worker/worker.ts",
    "reaches into admin/api.ts",
  ]);
  assert.deepEqual(findFaults("plugin/host/host.ts", 'import type { Exchange } from "../../proxy/exchange.ts";'), [
    "is below proxy/exchange.ts",
  ]);
  assert.deepEqual(findFaults("rooms/door.ts", ""), ["is in a module without a layer"]);
  assert.deepEqual(findFaults("config/load.ts", 'import {\n  readFileSync,\n} from "node:fs";'), [
    "is pure but imports node:fs",
  ]);
  assert.deepEqual(findFaults("admin/server.ts", 'import http from "node:http";'), [
    "imports node:http, not by getBuiltinModule",
  ]);
  assert.deepEqual(findFaults("admin/server.ts", 'import type { Server } from "node:http";'), []);
  assert.deepEqual(
    findFaults(
      "proxy/local-response.ts",
      'import { isIP, connect } from "node:net";\nimport * as tls from "node:tls";',
    ),
    ["opens sockets by node:net", "opens sockets by node:tls"],
  );
  const allowed: [path: string, text: string][] = [
    ["proxy/pipeline.ts", 'import { Pool } from "../cluster/pool.ts";'],
    [
      "proxy/local-response.ts",
      'import type { Pool } from "../cluster/pool.ts";\nimport { Head } from "../http/head.ts";',
    ],
    ["proxy/headers.ts", 'import { BlockList, type Socket } from "node:net";\nimport { HOOK } from "../abi/abi.ts";'],
    [
      "route/match.ts",
      '/** WebAssembly.Module */\n// import { x } from "../worker/y.ts";\nimport { a } from "./compile.ts";',
    ],
    ["plugin/wasm/build.ts", "new WebAssembly.Module(bytes);"],
    ["config/watch.ts", 'import { watch } from "node:fs";'],
    ["worker/listener.ts", 'import { createServer } from "node:net";'],
  ];
  for (const [path, text] of allowed) assert.deepEqual(findFaults(path, text), [], path);
});
