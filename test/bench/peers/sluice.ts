import { execFileSync } from "node:child_process";
import { copyFileSync } from "node:fs";
import { join } from "node:path";
import { waitForPort } from "../programs.ts";
import { freePorts, type Groups, type Site, type Work } from "../site.ts";
import type { Peer, Subject } from "../subject.ts";

const ROOT = join(import.meta.dirname, "../../..");
const PROGRAM = join(ROOT, "bin/sluice.js");
const SOURCES = join(ROOT, "test/bench/plugins");

type Settings = {
  readonly name: string;
  /** Plugins of test/bench/plugins. */
  readonly plugins?: readonly string[];
  /** Keys of the listener besides its address, as flow YAML. */
  readonly listener: string;
  /** Write a line for each request. */
  readonly access?: true;
  /** Endpoints other than the upstream's. */
  readonly groups?: Partial<Groups>;
};

/** Compiles a plugin of the bench as its author would, in the run's own directory. */
function buildPlugin(site: Site, name: string): string {
  const source = site.path(`${name}.ts`);
  copyFileSync(join(SOURCES, `${name}.ts`), source);
  execFileSync(process.execPath, [PROGRAM, "plugin", "build", source], { stdio: ["ignore", "ignore", "inherit"] });
  return site.path(`${name}.wasm`);
}

function clusterOf(name: keyof Groups, addresses: readonly string[]): string {
  return `  ${name}: { endpoints: [${addresses.join(", ")}], pool: { idle: 256, idleFor: 1h, requests: 0 } }`;
}

export async function startSluice(
  site: Site,
  { name, plugins = [], listener, access, groups }: Settings,
): Promise<Subject> {
  const [port = 0] = await freePorts(1);
  const file = name.replaceAll(/\W+/g, "-");
  const modules = plugins.map((plugin) => `  ${plugin}: { wasm: ${JSON.stringify(buildPlugin(site, plugin))} }`);
  const text = `admin: false
log: { level: warn, access: ${access ?? false} }
${modules.length > 0 ? `plugins:\n${modules.join("\n")}` : ""}
listeners:
  web: { address: "127.0.0.1:${port}", timeouts: { idle: 1h }, ${listener} }
clusters:
${clusterOf("app", groups?.app ?? site.groups.app)}
${clusterOf("canary", groups?.canary ?? site.groups.canary)}
`;
  const config = site.write(`${file}.yaml`, text);
  const run = [process.execPath, ...site.nodeFlags, PROGRAM, "run", "-c", config, "--workers", "1"];
  const program = site.programs.start({ name, run, core: site.proxyCore });
  await waitForPort(program, port);
  return { name, port, pid: program.pid, close: program.close };
}

function peerOf(work: Work, settings: Settings): Peer {
  return { name: settings.name, work, start: (site) => startSluice(site, settings) };
}

export const sluice = peerOf("plain", { name: "Sluice", listener: "cluster: app" });

export const sluiceLogging = peerOf("plain", { name: "Sluice", listener: "cluster: app", access: true });

export const sluiceNoop = peerOf("plain", {
  name: "Sluice with a no-op",
  plugins: ["noop"],
  listener: "cluster: app, chain: [noop]",
});

export const sluiceChain = peerOf("chain", {
  name: "Sluice",
  plugins: ["choose", "edit"],
  listener: "routes: [{ router: choose, clusters: [app, canary], chain: [edit] }]",
});
