/** A row of load: every proxy in turn, and the ratios of what they spent in the same turn. */
import { checkSubject } from "./check.ts";
import { checkGrpc, GRPC_HEADERS, GRPC_PATH, messageOf } from "./grpc.ts";
import { startGrpcEcho } from "./http2-peer.ts";
import { type Load, measure, type Sample } from "./load.ts";
import type { Options } from "./options.ts";
import { useLoadCore } from "./relay.ts";
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
  /** Unary gRPC calls to an endpoint of their own, over HTTP/2. */
  readonly grpc?: true;
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
  const echo = row.grpc && (await startGrpcEcho());
  const site = siteOf(shared, row, echo?.address);
  const peers = row.peers.filter(({ name }) => options.only.length === 0 || options.only.includes(name));
  const expected = { work: row.work, endpoints: site.groups.app.length, large: row.path !== undefined };
  const subjects: Subject[] = [];
  try {
    for (const peer of peers) subjects.push(await peer.start(site));
    for (const subject of subjects) await (row.grpc ? checkGrpc(subject) : checkSubject(subject, expected));
    for (const subject of subjects) await measure(subject.name, subject.pid, loadOf(site, row, options, subject, true));
    const samples = await takeTurns(site, row, options, subjects);
    return { samples, compared: row.comparisons.flatMap((comparison) => compare(comparison, samples)) };
  } finally {
    await Promise.all(subjects.map((subject) => subject.close()));
    echo?.close();
  }
}

/** `echo`: the address of the row's only endpoint. */
function siteOf(shared: Site, row: LoadRow, echo: string | undefined): Site {
  if (echo !== undefined) {
    // It is in this process, which must leave the proxies' core alone.
    useLoadCore(shared);
    const groups = { app: [echo], canary: [echo] };
    return { ...shared, groups, http2Groups: groups };
  }
  const { groups, many } = shared;
  const app = row.endpoints === undefined ? groups.app : many.slice(0, row.endpoints);
  return { ...shared, groups: { ...groups, app } };
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
    path: row.grpc ? GRPC_PATH : (row.path ?? "/"),
    headers: row.grpc ? GRPC_HEADERS.map((header) => header.join(": ")) : (row.headers ?? []),
    file: row.grpc && site.write("grpc-message", messageOf(30).toString("latin1")),
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
