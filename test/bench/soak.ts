/** Memory over many reloads under load: a plugin with state, whose module and configuration change each time. */
import { copyFileSync, renameSync } from "node:fs";
import { askAdmin } from "./admin.ts";
import { type Result, runWrk } from "./load.ts";
import type { Options } from "./options.ts";
import { buildPlugin, type Settings, startSluice, writeConfig } from "./peers/sluice.ts";
import { readRss } from "./programs.ts";
import { freePorts, type Site } from "./site.ts";
import { slopeOf, spreadOf } from "./statistics.ts";
import type { Subject } from "./subject.ts";
import { renderTable } from "./table.ts";

const CONNECTIONS = 16;
const SAMPLES = 20;
/** Of the reloads, after which memory should grow no more: caches are full, the heap has found its size. */
const SETTLED = 0.5;
const MIB = 1024 ** 2;

type Turns = {
  readonly times: number[];
  /** Resident memory after so many reloads. */
  readonly memory: (readonly [reload: number, bytes: number])[];
  /** Reloads after which an older version responded. */
  stale: number;
  replaced: number;
};

type Status = { readonly version: number; readonly workers: readonly { readonly guests: number }[] };

export async function runSoak(site: Site, options: Options): Promise<string> {
  const [admin = 0] = await freePorts(1);
  const builds = ["a", "b"].map((build) => {
    const edit = (text: string): string => text.replace('BUILD = "a"', `BUILD = "${build}"`);
    return buildPlugin(site, "soak", { name: `soak-${build}`, edit });
  });
  const use = (turn: number): void => {
    copyFileSync(builds[turn % 2]!, site.path("soak.next"));
    renameSync(site.path("soak.next"), site.path("soak.wasm"));
  };
  use(0);
  const subject = await startSluice(site, settingsOf(admin, 0));
  try {
    const before = await readStatus(admin);
    let ended = false;
    const taking = takeTurns(site, subject, { admin, reloads: options.reloads, use }).finally(() => {
      ended = true;
    });
    const [turns, load] = await Promise.all([taking, runLoad(site, subject, options, () => ended)]);
    return render(turns, load, [before, await readStatus(admin)]);
  } finally {
    await subject.close();
  }
}

function settingsOf(admin: number, turn: number): Settings {
  const keys = `config: { turn: "${turn}" }, allow: { kv: [soak] }`;
  const plugins = [{ name: "soak", keys }];
  return { name: "soak", admin, plugins, listener: "cluster: app, chain: [soak]" };
}

type Work = { readonly admin: number; readonly reloads: number; readonly use: (turn: number) => void };

async function takeTurns(site: Site, subject: Subject, { admin, reloads, use }: Work): Promise<Turns> {
  const every = Math.max(1, Math.floor(reloads / SAMPLES));
  const turns: Turns = { times: [], memory: [[0, readRss(subject.pid)]], stale: 0, replaced: 0 };
  for (let turn = 1; turn <= reloads; turn++) {
    use(turn);
    writeConfig(site, subject.port, settingsOf(admin, turn));
    const began = performance.now();
    const { result, problems } = JSON.parse(await askAdmin(admin, "POST", "/api/v1/reload"));
    if (result === "rejected") throw new Error(`reload ${turn} was rejected: ${problems}`);
    turns.times.push(performance.now() - began);
    const response = await fetch(`http://127.0.0.1:${subject.port}/`);
    await response.text();
    const [build, served, replaced] = (response.headers.get("x-soak") ?? "").split(" ");
    if (build !== "ab"[turn % 2] || served !== String(turn)) turns.stale++;
    turns.replaced = Number(replaced);
    if (turn % every === 0) turns.memory.push([turn, readRss(subject.pid)]);
  }
  return turns;
}

/** One interval after another, until it is over. */
async function runLoad(
  site: Site,
  { port }: Subject,
  { seconds }: Options,
  hasEnded: () => boolean,
): Promise<readonly Result[]> {
  const load = { port, path: "/", headers: [], upload: 0, connections: CONNECTIONS, seconds, core: site.loadCore };
  const results: Result[] = [];
  while (!hasEnded()) results.push(await runWrk(load));
  return results;
}

async function readStatus(admin: number): Promise<Status> {
  return JSON.parse(await askAdmin(admin, "GET", "/api/v1/status")) as Status;
}

function render({ times, memory, stale, replaced }: Turns, load: readonly Result[], status: readonly Status[]): string {
  const sum = (read: (result: Result) => number): number => load.reduce((total, result) => total + read(result), 0);
  const [before, after] = status.map((one) => ({ ...one, guests: one.workers[0]?.guests ?? 0 }));
  const settled = memory.filter(([reload]) => reload >= times.length * SETTLED);
  const mib = (bytes: number): string => (bytes / MIB).toFixed(1);
  const [first, last] = [settled[0]![1], memory.at(-1)![1]];
  const half = `RSS MiB after ${settled[0]![0]}`;
  const counts = renderTable(
    [
      "reloads",
      "versions",
      "state migrated",
      "guests before and after",
      "requests",
      "failed",
      "served by an older version",
      "ms a reload",
    ],
    [
      [
        ...[times.length, after!.version - before!.version, replaced].map(String),
        `${before!.guests}, ${after!.guests}`,
        ...[sum((one) => one.requests), sum((one) => one.broken + one.refused), stale].map(String),
        spreadOf(times).median.toFixed(0),
      ],
    ],
  );
  const flat = renderTable(
    ["RSS MiB at the start", half, "at the end", "at most", "KiB more for each reload since then"],
    [
      [
        ...[memory[0]![1], first, last, Math.max(...memory.map(([, bytes]) => bytes))].map(mib),
        (slopeOf(settled) / 1024).toFixed(2),
      ],
    ],
  );
  const list = memory.map(([, bytes]) => (bytes / MIB).toFixed(0)).join(" ");
  return `${counts}\n\n${flat}\n\n${CONNECTIONS} connections. RSS MiB from sample to sample: ${list}.`;
}
