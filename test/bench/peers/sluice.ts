import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { compileWat } from "../../unit/plugin/kit.ts";
import { HOSTILE_MODULES } from "../hostile-modules.ts";
import { waitForPort } from "../programs.ts";
import { freePorts, type Groups, type Site, type Work } from "../site.ts";
import type { Peer, Subject } from "../subject.ts";

const ROOT = join(import.meta.dirname, "../../..");
const PROGRAM = join(ROOT, "bin/sluice.js");
const SOURCES = join(ROOT, "test/bench/plugins");

/** A plugin of test/bench/plugins under the name that routes use. */
export type Use = {
  readonly name: string;
  /** The source, without its ending; absent: the name. */
  readonly source?: string;
  /** Its keys besides `wasm`, as flow YAML. */
  readonly keys?: string;
};

export type Settings = {
  readonly name: string;
  readonly plugins?: readonly Use[];
  /** Keys of the listener besides its address, as flow YAML. */
  readonly listener: string;
  /** Clients use https. */
  readonly tls?: true;
  /** Keys of the clusters besides endpoints and pool, as flow YAML. */
  readonly cluster?: string;
  /** Write a line for each request. */
  readonly access?: true;
  /** The port is one for datagrams. */
  readonly datagrams?: true;
  /** Endpoints other than the upstream's. */
  readonly groups?: Partial<Groups>;
  /** The port of the admin interface; without it there is none. */
  readonly admin?: number;
  /** Further keys of the configuration. */
  readonly more?: string;
};

/** Compiles a plugin of the bench as its author would, in the run's own directory; once. `as`: with another text. */
export function buildPlugin(
  site: Site,
  name: string,
  as: { readonly name: string; readonly edit: (text: string) => string } = { name, edit: (text) => text },
): string {
  const wasm = site.path(`${as.name}.wasm`);
  if (existsSync(wasm)) return wasm;
  const text = HOSTILE_MODULES[name];
  if (text !== undefined) {
    writeFileSync(wasm, compileWat(text));
    return wasm;
  }
  const source = site.write(`${as.name}.ts`, as.edit(readFileSync(join(SOURCES, `${name}.ts`), "utf8")));
  execFileSync(process.execPath, [PROGRAM, "plugin", "build", source], { stdio: ["ignore", "ignore", "inherit"] });
  return wasm;
}

function clusterOf(name: keyof Groups, addresses: readonly string[], keys = ""): string {
  return `  ${name}: { endpoints: [${addresses.join(", ")}], pool: { idle: 256, idleFor: 1h, requests: 0 }, ${keys} }`;
}

/** Writes the configuration; the path. Written again, it is what a reload reads. */
export function writeConfig(site: Site, port: number, settings: Settings): string {
  const { name, plugins = [], access, groups, admin, cluster, more = "" } = settings;
  const tls = settings.tls ? ", tls: { certificates: [{ cert: site.pem, key: site.key }] }" : "";
  const listener = settings.listener + tls;
  const modules = plugins.map((use) => {
    const keys = use.keys === undefined ? "" : `, ${use.keys}`;
    return `  ${use.name}: { wasm: ${JSON.stringify(buildPlugin(site, use.source ?? use.name))}${keys} }`;
  });
  const text = `admin: ${admin === undefined ? "false" : `127.0.0.1:${admin}`}
log: { level: warn, access: ${access ?? false} }
${more}
${modules.length > 0 ? `plugins:\n${modules.join("\n")}` : ""}
listeners:
  web: { address: "127.0.0.1:${port}", timeouts: { idle: 1h }, ${listener} }
clusters:
${clusterOf("app", groups?.app ?? site.groups.app, cluster)}
${clusterOf("canary", groups?.canary ?? site.groups.canary, cluster)}
`;
  return site.write(`${name.replaceAll(/\W+/g, "-")}.yaml`, text);
}

export async function startSluice(site: Site, settings: Settings): Promise<Subject> {
  const { name } = settings;
  const [port = 0, ready = 0] = await freePorts(2);
  const config = writeConfig(site, port, settings.datagrams ? { ...settings, admin: ready } : settings);
  const run = [process.execPath, ...site.nodeFlags, PROGRAM, "run", "-c", config, "--workers", "1"];
  const program = site.programs.start({ name, run, core: site.proxyCore });
  await waitForPort(program, settings.datagrams ? ready : port);
  if (settings.datagrams) while (!(await fetch(`http://127.0.0.1:${ready}/ready`)).ok) await sleep(50);
  return { name, port, tls: settings.tls, pid: program.pid, close: program.close };
}

/** What is wrong with a configuration: the first line of what the program says of it; null: nothing. */
export function checkConfig(site: Site, settings: Settings): string | null {
  const config = writeConfig(site, 1, settings);
  const { status, stdout, stderr } = spawnSync(process.execPath, [PROGRAM, "check", "-c", config], {
    encoding: "utf8",
  });
  return status === 0 ? null : (`${stderr}${stdout}`.trim().split("\n")[0] ?? "");
}

function peerOf(work: Work, settings: Settings): Peer {
  return { name: settings.name, work, start: (site) => startSluice(site, settings) };
}

export const sluice = peerOf("plain", { name: "Sluice", listener: "cluster: app" });

export const sluiceFront = peerOf("plain", { name: "Sluice", listener: "cluster: app", tls: true });

export const sluiceTcp = peerOf("plain", { name: "Sluice", listener: "protocol: tcp, cluster: app" });

export const sluiceUdp = peerOf("plain", {
  name: "Sluice",
  listener: "protocol: udp, cluster: app",
  datagrams: true,
});

export const sluiceTlsUpstream: Peer = {
  name: "Sluice",
  work: "plain",
  start: (site) =>
    startSluice(site, {
      name: "Sluice",
      listener: "cluster: app",
      groups: site.tlsGroups,
      cluster: "tls: { sni: localhost, ca: ca.pem }",
    }),
};

export const sluiceHttp2Upstream: Peer = {
  name: "Sluice",
  work: "plain",
  start: (site) =>
    startSluice(site, {
      name: "Sluice",
      listener: "cluster: app",
      groups: site.http2Groups,
      cluster: "protocol: http2",
    }),
};

export const sluiceLogging = peerOf("plain", { name: "Sluice", listener: "cluster: app", access: true });

export const sluiceNoop = peerOf("plain", {
  name: "Sluice with a no-op",
  plugins: [{ name: "noop" }],
  listener: "cluster: app, chain: [noop]",
});

export const sluiceChain = peerOf("chain", {
  name: "Sluice",
  plugins: [{ name: "choose" }, { name: "edit" }],
  listener: "routes: [{ router: choose, clusters: [app, canary], chain: [edit] }]",
});

export const sluiceBody = peerOf("plain", {
  name: "Sluice with a body hook",
  plugins: [{ name: "look" }],
  listener: "cluster: app, chain: [look]",
});

/** As many guests as the load has connections: no call is queued. */
export const sluiceFetch = peerOf("plain", {
  name: "Sluice with fetch",
  plugins: [{ name: "authorize", keys: 'allow: { fetch: ["cluster:canary"] }, limits: { guests: 64 }' }],
  listener: "cluster: app, chain: [authorize]",
});

export const sluiceKeyValue = peerOf("plain", {
  name: "Sluice with key-value",
  plugins: [{ name: "count", keys: "allow: { kv: [clients] }" }],
  listener: "cluster: app, chain: [count]",
});

const traced: Settings = {
  name: "Sluice, trace off for the request",
  plugins: [{ name: "noop" }],
  listener: "cluster: app, chain: [noop]",
  more: "trace: { token: 8f14e45fceea167a5a36dedd4bea2543 }",
};

export const sluiceTraced = peerOf("plain", traced);

/** Why `sluiceTraced` cannot be started; null: it can. */
export const whyNotTraced = (site: Site): string | null => checkConfig(site, traced);
