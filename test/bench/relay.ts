/** Messages that are sent back: processor time of each proxy for a message and its echo. */
import { execFileSync } from "node:child_process";
import type { Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import type { Options } from "./options.ts";
import { readTimes } from "./programs.ts";
import type { Site } from "./site.ts";
import { spreadOf } from "./statistics.ts";
import type { Peer, Subject } from "./subject.ts";
import { renderTable } from "./table.ts";

/** One kind of work, of which the proxy's processor time for each turn is compared. */
export type Work = {
  readonly name: string;
  /** By peer: what our time divided by its is to be at most. */
  readonly targets?: Readonly<Record<string, string>>;
  /** Begins the work, and calls `done` for each unit of it; returns what stops it. */
  begin(port: number, done: () => void): Promise<() => unknown>;
};

export type Relay = {
  /** Ours first. */
  readonly peers: readonly Peer[];
  readonly works: readonly Work[];
  /** Heads of the first column, and of that of the time. */
  readonly head: readonly [work: string, time: string];
  startEcho(): Promise<{ address: string; close(): void }>;
};

/** ms for each second of a turn in other rows: nothing has to be started here, so a turn can be shorter. */
const TURN = 300;
const WARM_UP = 500;
/** Until what was begun is under way, ms. */
const BEGIN = 200;

export async function runRelay(shared: Site, options: Options, relay: Relay): Promise<string> {
  const echo = await relay.startEcho();
  const groups = { app: [echo.address], canary: [echo.address] };
  const site = { ...shared, groups, http2Groups: groups };
  const peers = relay.peers.filter(({ name }) => options.only.length === 0 || options.only.includes(name));
  const subjects: Subject[] = [];
  const rows: string[][] = [];
  useLoadCore(site);
  try {
    for (const peer of peers) subjects.push(await peer.start(site));
    for (const work of relay.works) rows.push(...(await compare(subjects, relay.peers[0]!.name, work, options)));
  } finally {
    await Promise.all(subjects.map((subject) => subject.close()));
    echo.close();
  }
  const [work, time] = relay.head;
  const table = renderTable([work, "proxy", time, "a second", "Sluice ÷ it", "target"], rows);
  return `${table}\n\n${options.turns} turns of ${((options.seconds * TURN) / 1000).toFixed(1)} s.`;
}

/** The load and the endpoint are in this process: it must leave the proxies' core alone. */
export function useLoadCore(site: Site): void {
  execFileSync("taskset", ["-acp", String(site.loadCore), String(process.pid)]);
}

type Sample = { readonly cpu: number; readonly rate: number };

/** All proxies in turn, as often as options say; the ratios are of the same turn. */
async function compare(subjects: readonly Subject[], own: string, work: Work, options: Options): Promise<string[][]> {
  const samples = new Map<string, Sample[]>(subjects.map(({ name }) => [name, []]));
  for (let turn = -1; turn < options.turns; turn++)
    for (let place = 0; place < subjects.length; place++) {
      const subject = subjects[(turn + 1 + place) % subjects.length]!;
      const sample = await measure(work, subject, turn < 0 ? options.warmUp * WARM_UP : options.seconds * TURN);
      if (turn >= 0) samples.get(subject.name)!.push(sample);
    }
  const ours = samples.get(own);
  return [...samples].map(([name, taken]) => {
    const ratio = spreadOf(taken.map(({ cpu }, turn) => (ours?.[turn]?.cpu ?? Number.NaN) / cpu));
    const compares = ours !== undefined && taken !== ours;
    return [
      work.name,
      name,
      spreadOf(taken.map(({ cpu }) => cpu)).median.toFixed(1),
      spreadOf(taken.map(({ rate }) => rate)).median.toFixed(0),
      compares ? `${ratio.median.toFixed(2)} (${ratio.low.toFixed(2)} to ${ratio.high.toFixed(2)})` : "",
      compares ? (work.targets?.[name] ?? "") : "",
    ];
  });
}

async function measure(work: Work, { name, port, pid }: Subject, duration: number): Promise<Sample> {
  let count = 0;
  const stop = await work.begin(port, () => {
    count++;
  });
  await sleep(BEGIN);
  const [ran, begin, before] = [readTimes(pid).ran, performance.now(), count];
  await sleep(duration);
  const [cpu, micros, done] = [readTimes(pid).ran - ran, (performance.now() - begin) * 1000, count - before];
  await stop();
  if (done === 0) throw new Error(`${name}: nothing was sent back: ${work.name}`);
  return { cpu: cpu / done, rate: (done * 1e6) / micros };
}

/** Every connection sends its next message when it has the last one back. */
export function pingPong(sockets: readonly Socket[], message: Buffer, done: () => void): () => void {
  for (const socket of sockets) {
    let got = 0;
    socket.on("data", (bytes: Buffer) => {
      got += bytes.length;
      if (got < message.length) return;
      got = 0;
      done();
      socket.write(message);
    });
    socket.write(message);
  }
  return () => {
    for (const socket of sockets) socket.destroy();
  };
}

/** Connections for messages of a size: fewer for large ones. */
export const connectionsOf = (size: number): number => (size > 100_000 ? 4 : 32);
