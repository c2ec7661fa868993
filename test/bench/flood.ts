/** The effect of a hostile plugin on other traffic of the same worker, and what is reported of the plugin. */
import { execFile } from "node:child_process";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { askAdmin, readSeries } from "./admin.ts";
import type { Options } from "./options.ts";
import type { Paced } from "./pace.ts";
import { type Settings, startSluice, type Use } from "./peers/sluice.ts";
import { readRss } from "./programs.ts";
import { freePorts, type Site } from "./site.ts";
import type { Subject } from "./subject.ts";
import { renderTable } from "./table.ts";

/** Requests a second of the others, and to the hostile plugin. */
const STEADY = { rate: 2000, connections: 64 };
const HOSTILE = { rate: 100, connections: 256 };
/** Until both loads are started, ms; the others send for some of it, and are not counted. */
const START = 1000;
const EARLIER = 700;
/** For each kind, of the time that the options give a row. */
const SHARE = 6;
/** Between two kinds, ms. */
const PAUSE = 500;
const SAMPLE = 50;

const ALLOW = "allow: { kv: [flood] }";

type Kind = {
  readonly name: string;
  readonly does: string;
  readonly source?: string;
  readonly rate?: number;
  /** How much longer it is watched: its calls end after 5 s, or are so slow that a short time has too many of them. */
  readonly times?: number;
};

/** As many requests to a plugin that does nothing: what they cost by themselves. */
const HARMLESS: Kind = { name: "harmless", does: "does nothing" };
const HOSTILES: readonly Kind[] = [
  { name: "burns", does: "burns" },
  { name: "loops", does: "loops" },
  { name: "recurses", does: "recurses" },
  { name: "grows", does: "grows" },
  { name: "throws", does: "throws" },
  { name: "log", does: "floods the log" },
  { name: "key-value", does: "floods key-value" },
  { name: "metrics", does: "floods metrics" },
  { name: "waits", does: "waits forever", source: "hostile-waits", times: 2 },
  { name: "tables", does: "copies tables", source: "hostile-tables" },
  { name: "lists", does: "lists key-value", source: "hostile-lists" },
  { name: "values", does: "overwrites values", source: "hostile-values" },
  { name: "names", does: "fails in a long name", source: "hostile-names" },
  // The slowest code that fuel pays for, some 30 ms a call: a hundred calls a second would need three threads.
  { name: "pointers", does: "follows pointers", source: "hostile-pointers", rate: 10, times: 3 },
];

/** A plugin's counters, over all hooks. */
export type PluginCounts = {
  readonly calls: number;
  readonly refused: number;
  /** By reason. */
  readonly failures: Readonly<Record<string, number>>;
};

type Seen = {
  readonly others: Paced;
  readonly hostile: Paced | null;
  readonly counts: PluginCounts;
  readonly rss: number;
};

export async function runFlood(site: Site, options: Options): Promise<string> {
  const [admin = 0] = await freePorts(1);
  const kinds = chooseKinds(options.only);
  const subject = await startSluice(site, settingsOf(kinds, admin));
  const seconds = Math.ceil((options.turns * options.seconds) / SHARE);
  const seen: (readonly [beside: string, what: Seen])[] = [];
  try {
    await watch(site, subject, { admin, kind: null, seconds: options.warmUp });
    seen.push(["(none)", await watch(site, subject, { admin, kind: null, seconds })]);
    for (const kind of kinds) {
      seen.push([kind.does, await watch(site, subject, { admin, kind, seconds: seconds * (kind.times ?? 1) })]);
      await sleep(PAUSE);
    }
    seen.push(["(none again)", await watch(site, subject, { admin, kind: null, seconds })]);
  } finally {
    await subject.close();
  }
  const harmless = seen.find(([beside]) => beside === HARMLESS.does)![1].others.p99;
  const head = [
    "the plugin beside",
    "p50 ms",
    "p99 ms",
    "at most",
    "p99 ÷ harmless",
    "failed",
    "its responses",
    "its calls",
  ];
  const lines = seen.map(([beside, what]) => renderLine(beside, what, harmless));
  const table = renderTable([...head, "its failures", "refused", "RSS MiB at most"], lines);
  const pace = `${STEADY.rate} requests a second of others, ${HOSTILE.rate} to the hostile plugin (10 where it follows pointers), for ${seconds} s each (waits: ${2 * seconds} s, follows pointers: ${3 * seconds} s)`;
  return `${table}\n\n${pace}; all on one worker.`;
}

function chooseKinds(only: readonly string[]): readonly Kind[] {
  return [HARMLESS, ...HOSTILES.filter(({ name }) => only.length === 0 || only.includes(name))];
}

function settingsOf(kinds: readonly Kind[], admin: number): Settings {
  const uses = kinds.map(
    ({ name, does, source = "hostile" }): Use => ({
      ...{ name, source },
      keys: source === "hostile" ? `config: { does: ${does} }, ${ALLOW}` : source === "hostile-lists" ? ALLOW : "",
    }),
  );
  const routes = kinds.map(({ name }) => `{ match: { path: /${name} }, chain: [${name}], cluster: app }`);
  return {
    name: "flood",
    admin,
    plugins: [...uses, { name: "count", keys: "allow: { kv: [clients] }" }],
    listener: `routes: [${routes.join(", ")}, { chain: [count], cluster: app }]`,
  };
}

type Watched = { readonly admin: number; readonly kind: Kind | null; readonly seconds: number };

async function watch(site: Site, { port, pid }: Subject, { admin, kind, seconds }: Watched): Promise<Seen> {
  const before = await readMetrics(admin);
  let rss = readRss(pid);
  const sampling = setInterval(() => {
    rss = Math.max(rss, readRss(pid));
  }, SAMPLE);
  try {
    const from = Date.now() + START;
    const [others, hostile] = await Promise.all([
      pace(site, { port, path: "/", seconds, ...STEADY, from, earlier: EARLIER }),
      kind === null
        ? null
        : pace(site, { port, path: `/${kind.name}`, seconds, ...HOSTILE, rate: kind.rate ?? HOSTILE.rate, from }),
    ]);
    const counts = countCalls(before, await readMetrics(admin), kind?.name ?? "");
    return { others, hostile, counts, rss };
  } finally {
    clearInterval(sampling);
  }
}

type Pace = {
  readonly port: number;
  readonly path: string;
  readonly rate: number;
  readonly seconds: number;
  readonly connections: number;
  readonly from: number;
  readonly earlier?: number;
};
const run = promisify(execFile);

async function pace(site: Site, each: Pace): Promise<Paced> {
  const { port, path, rate, seconds, connections, from, earlier = 0 } = each;
  const program = [process.execPath, join(import.meta.dirname, "pace.ts")];
  const values = [port, path, rate, seconds, connections, from, earlier].map(String);
  const { stdout } = await run("taskset", ["-c", String(site.loadCore), ...program, ...values]);
  return JSON.parse(stdout) as Paced;
}

const readMetrics = (admin: number): Promise<string> => askAdmin(admin, "GET", "/metrics");

/** What a plugin's counters have grown by from one text of metrics to the other. */
export function countCalls(before: string, after: string, plugin: string): PluginCounts {
  const sum = (text: string, name: string, reason?: string): number =>
    readSeries(text, name)
      .filter(({ labels }) => labels.plugin === plugin && (reason === undefined || labels.reason === reason))
      .reduce((total, { value }) => total + value, 0);
  const grown = (name: string, reason?: string): number => sum(after, name, reason) - sum(before, name, reason);
  const reasons = new Set(readSeries(after, "sluice_plugin_failures_total").map(({ labels }) => labels.reason ?? ""));
  const failures = [...reasons].map((reason) => [reason, grown("sluice_plugin_failures_total", reason)] as const);
  return {
    calls: grown("sluice_plugin_calls_total"),
    refused: grown("sluice_plugin_refused_total"),
    failures: Object.fromEntries(failures.filter(([, count]) => count > 0)),
  };
}

function renderLine(does: string, { others, hostile, counts, rss }: Seen, harmless: number): string[] {
  const ms = (micros: number): string => (micros / 1000).toFixed(2);
  const good = others.statuses["200"] ?? 0;
  return [
    does,
    ...[others.p50, others.p99, others.most].map(ms),
    (others.p99 / harmless).toFixed(1),
    String(others.asked - good),
    hostile === null ? "" : list({ ...hostile.statuses, broken: hostile.broken, pending: hostile.pending }),
    hostile === null ? "" : String(counts.calls),
    list(counts.failures),
    hostile === null ? "" : String(counts.refused),
    (rss / 1024 ** 2).toFixed(0),
  ];
}

/** `200: 12, 500: 3`, without what is 0. */
function list(counts: Readonly<Record<string, number>>): string {
  return Object.entries(counts)
    .filter(([, count]) => count > 0)
    .map(([name, count]) => `${name}: ${count}`)
    .join(", ");
}
