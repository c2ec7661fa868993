/** A row of load: every proxy in turn, and the ratios of what they spent in the same turn. */
import { checkSubject } from "./check.ts";
import { type Load, measure, type Sample } from "./load.ts";
import type { Options } from "./options.ts";
import type { Site, Work } from "./site.ts";
import { type Spread, spreadOf } from "./statistics.ts";
import type { Peer, Subject } from "./subject.ts";

export type Comparison = {
  readonly ours: string;
  readonly peer: string;
  /** Ours divided by the peer's processor time, at most; absent where none is set. */
  readonly target?: number;
  /** The target after that. */
  readonly next?: number;
  /** Compare by difference, in ns a request, not by ratio. */
  readonly difference?: true;
};

export type LoadRow = {
  readonly name: string;
  readonly title: string;
  readonly work: Work;
  readonly path?: string;
  readonly headers?: readonly string[];
  /** Bytes of a request's body: the load posts. */
  readonly upload?: number;
  /** HTTP/2: connections, and streams at once on each. */
  readonly http2?: { readonly connections: number; readonly streams: number };
  /** Endpoints of the group `app`, when other than two. */
  readonly endpoints?: number;
  readonly peers: readonly Peer[];
  readonly comparisons: readonly Comparison[];
  /** Why it cannot be measured with this program; null: it can. */
  readonly missing?: (site: Site) => string | null;
};

/** A row that this program, or this machine, cannot measure: it is passed over. */
export class Unavailable extends Error {}

export type Compared = Comparison & {
  readonly cpu: Spread;
  readonly rate: Spread;
  /** The larger of both sides' median share of lost core. */
  readonly waited: number;
};

export type Outcome = {
  readonly samples: ReadonlyMap<string, readonly Sample[]>;
  readonly compared: readonly Compared[];
};

export async function runLoadRow(shared: Site, row: LoadRow, options: Options): Promise<Outcome> {
  const missing = row.missing?.(shared) ?? null;
  if (missing !== null) throw new Unavailable(missing);
  const { groups, many } = shared;
  const app = row.endpoints === undefined ? groups.app : many.slice(0, row.endpoints);
  const site = { ...shared, groups: { ...groups, app } };
  const peers = row.peers.filter(({ name }) => options.only.length === 0 || options.only.includes(name));
  const expected = { work: row.work, endpoints: app.length, large: row.path !== undefined };
  const subjects: Subject[] = [];
  try {
    for (const peer of peers) subjects.push(await peer.start(site));
    for (const subject of subjects) await checkSubject(subject, expected);
    for (const subject of subjects) await measure(subject.name, subject.pid, loadOf(site, row, options, subject, true));
    const samples = await takeTurns(site, row, options, subjects);
    return { samples, compared: row.comparisons.flatMap((comparison) => compare(comparison, samples)) };
  } finally {
    await Promise.all(subjects.map((subject) => subject.close()));
  }
}

/** Each turn begins with another proxy, so that none always follows the same one. */
async function takeTurns(
  site: Site,
  row: LoadRow,
  options: Options,
  subjects: readonly Subject[],
): Promise<Map<string, Sample[]>> {
  const samples = new Map<string, Sample[]>(subjects.map(({ name }) => [name, []]));
  for (let turn = 0; turn < options.turns; turn++) {
    for (let place = 0; place < subjects.length; place++) {
      const subject = subjects[(turn + place) % subjects.length]!;
      const sample = await measure(subject.name, subject.pid, loadOf(site, row, options, subject, false));
      samples.get(subject.name)?.push(sample);
    }
  }
  return samples;
}

function loadOf(site: Site, row: LoadRow, options: Options, { port, tls }: Subject, warmUp: boolean): Load {
  return {
    port,
    tls,
    path: row.path ?? "/",
    headers: row.headers ?? [],
    upload: row.upload ?? 0,
    connections: row.http2?.connections ?? options.connections,
    streams: row.http2?.streams,
    seconds: warmUp ? options.warmUp : options.seconds,
    core: site.loadCore,
  };
}

function compare(comparison: Comparison, samples: ReadonlyMap<string, readonly Sample[]>): Compared[] {
  const ours = samples.get(comparison.ours);
  const peers = samples.get(comparison.peer);
  if (ours === undefined || peers === undefined) return [];
  const pairs = ours.map((sample, turn) => [sample, peers[turn]!] as const);
  const cpu = comparison.difference
    ? pairs.map(([a, b]) => (a.cpu - b.cpu) * 1000)
    : pairs.map(([a, b]) => a.cpu / b.cpu);
  const waited = Math.max(...[ours, peers].map((taken) => spreadOf(taken.map((sample) => sample.waited)).median));
  return [{ ...comparison, cpu: spreadOf(cpu), rate: spreadOf(pairs.map(([a, b]) => a.rate / b.rate)), waited }];
}
