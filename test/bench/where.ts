/**
 * Where the time goes: the processor time of a request, by part of the program, ours beside the floor's. The shares
 * come from V8's sampling profiler, the whole from /proc; sampling adds to both sides alike.
 */
import { mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type Load, measure } from "./load.ts";
import type { Options } from "./options.ts";
import { floor, floorChain } from "./peers/node.ts";
import { sluice, sluiceChain } from "./peers/sluice.ts";
import { ROUTE_HEADER, type Site } from "./site.ts";
import type { Peer } from "./subject.ts";
import { renderTable } from "./table.ts";

const INTERVAL = 250;
const TOP = 15;

type Frame = { readonly functionName: string; readonly url: string };
type Profile = {
  readonly nodes: readonly { readonly id: number; readonly callFrame: Frame }[];
  readonly samples: readonly number[];
  readonly timeDeltas: readonly number[];
  readonly startTime: number;
};

/** ns a request by part, and by single function. */
type Account = { readonly parts: Map<string, number>; readonly functions: Map<string, number> };

/** The first whose pattern the frame's address matches; what V8 samples outside of JavaScript is named in brackets. */
const PARTS: readonly (readonly [part: string, pattern: RegExp])[] = [
  ["message heads and bodies (http, http1)", /\/src\/http1?\//],
  ["the request pipeline (proxy)", /\/src\/proxy\//],
  ["routes (route)", /\/src\/route\//],
  ["endpoints and pools (cluster)", /\/src\/cluster\//],
  ["plugin host (plugin)", /\/src\/plugin\//],
  ["plugins themselves (WebAssembly)", /^wasm:/],
  ["counters and log (observe)", /\/src\/observe\//],
  ["connections and listeners (net, worker)", /\/src\/(net|worker)\//],
  ["the floor's own code", /\/test\/bench\//],
  ["Node's sockets and streams", /^node:/],
];
const COLLECTOR = "garbage collection";
const NATIVE = "kernel and native code";

export async function runWhere(site: Site, options: Options): Promise<string> {
  const accounts: Account[] = [];
  for (const peer of [sluice, floor, sluiceChain, floorChain]) accounts.push(await profilePeer(site, peer, options));
  const names = [...PARTS.map(([part]) => part), NATIVE, COLLECTOR];
  const show = (nanoseconds: number): string => (nanoseconds < 0.5 ? "" : nanoseconds.toFixed(0));
  const lines = names.map((name) => [name, ...accounts.map(({ parts }) => show(parts.get(name) ?? 0))]);
  const totals = accounts.map(({ parts }) => show([...parts.values()].reduce((a, b) => a + b, 0)));
  const head = ["ns a request", "Sluice, plain", "floor, plain", "Sluice, chain", "floor, chain"];
  const functions = [...accounts[2]!.functions].sort(([, a], [, b]) => b - a).slice(0, TOP);
  const top = renderTable(
    ["Sluice, chain: most time in", "ns a request"],
    functions.map(([name, time]) => [name, show(time)]),
  );
  return `${renderTable(head, [...lines, ["together", ...totals]])}\n\n${top}`;
}

async function profilePeer(site: Site, peer: Peer, options: Options): Promise<Account> {
  const directory = site.path(`profile-${peer.name}-${peer.work}`);
  mkdirSync(directory);
  const nodeFlags = ["--cpu-prof", `--cpu-prof-dir=${directory}`, `--cpu-prof-interval=${INTERVAL}`];
  const subject = await peer.start({ ...site, nodeFlags });
  const headers = peer.work === "chain" ? [`${ROUTE_HEADER}: 1`] : [];
  const common = { port: subject.port, path: "/", headers, upload: 0, core: site.loadCore };
  const load: Load = { ...common, connections: options.connections, seconds: options.seconds };
  try {
    await measure(peer.name, subject.pid, { ...load, seconds: options.warmUp });
    // The profiler and this clock count from the same moment, in µs and ns.
    const from = Number(process.hrtime.bigint() / 1000n);
    const { cpu } = await measure(peer.name, subject.pid, load);
    const to = Number(process.hrtime.bigint() / 1000n);
    await subject.close();
    return account(readBusiest(directory, from, to), cpu * 1000);
  } finally {
    await subject.close();
  }
}

/** Time of each frame within the interval, of the thread that did most. */
function readBusiest(directory: string, from: number, to: number): Map<Frame, number> {
  const threads = readdirSync(directory)
    .map((file) => JSON.parse(readFileSync(join(directory, file), "utf8")) as Profile)
    .map((profile) => readTimes(profile, from, to));
  const sum = (times: Map<Frame, number>): number => [...times.values()].reduce((a, b) => a + b, 0);
  const [busiest] = threads.sort((a, b) => sum(b) - sum(a));
  if (busiest === undefined) throw new Error(`no profile was written to ${directory}`);
  return busiest;
}

function readTimes({ nodes, samples, timeDeltas, startTime }: Profile, from: number, to: number): Map<Frame, number> {
  const frames = new Map(nodes.map(({ id, callFrame }) => [id, callFrame]));
  const times = new Map<Frame, number>();
  let now = startTime;
  for (const [i, id] of samples.entries()) {
    now += timeDeltas[i]!;
    const frame = frames.get(id)!;
    // A sample counts for the time until the next one.
    if (now >= from && now < to && frame.functionName !== "(idle)")
      times.set(frame, (times.get(frame) ?? 0) + (timeDeltas[i + 1] ?? 0));
  }
  return times;
}

function account(times: Map<Frame, number>, nanoseconds: number): Account {
  const all = [...times.values()].reduce((a, b) => a + b, 0);
  const parts = new Map<string, number>();
  const functions = new Map<string, number>();
  for (const [frame, time] of times) {
    const cost = (time / all) * nanoseconds;
    const part = partOf(frame);
    const name = `${frame.functionName || "(anonymous)"} ${frame.url.replace(/^.*\/(?=(src|test)\/)/, "")}`;
    parts.set(part, (parts.get(part) ?? 0) + cost);
    if (part !== NATIVE) functions.set(name, (functions.get(name) ?? 0) + cost);
  }
  return { parts, functions };
}

function partOf({ functionName, url }: Frame): string {
  if (functionName === "(garbage collector)") return COLLECTOR;
  return PARTS.find(([, pattern]) => pattern.test(url))?.[0] ?? NATIVE;
}
