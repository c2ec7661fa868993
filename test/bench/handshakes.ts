/** TLS handshakes with each proxy: processor time of a connection that is opened and closed, full and resumed. */
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { type ConnectionOptions, connect, type SecureVersion, type TLSSocket } from "node:tls";
import type { Options } from "./options.ts";
import { haproxyFront } from "./peers/haproxy.ts";
import { nginxFront } from "./peers/nginx.ts";
import { sluiceFront } from "./peers/sluice.ts";
import { readTimes } from "./programs.ts";
import type { Site } from "./site.ts";
import { spreadOf } from "./statistics.ts";
import type { Subject } from "./subject.ts";
import { renderTable } from "./table.ts";

const PEERS = [sluiceFront, nginxFront, haproxyFront];
const AT_ONCE = 8;
/** Without X25519MLKEM768, which Node's OpenSSL and that of Debian 12, which nginx and HAProxy use, do not share. */
const GROUPS = "X25519:P-256";
const CASES = [
  { version: "TLSv1.3", resumed: false, target: 1.35 },
  { version: "TLSv1.2", resumed: true, target: 1.6 },
  { version: "TLSv1.3", resumed: true, target: 1.6 },
] as const satisfies readonly { version: SecureVersion; resumed: boolean; target: number }[];

type Case = (typeof CASES)[number];
type Sample = { readonly cpu: number; readonly rate: number };

export async function runHandshakes(site: Site, options: Options): Promise<string> {
  // The clients are in this process: it must leave the proxies' core alone.
  execFileSync("taskset", ["-acp", String(site.loadCore), String(process.pid)]);
  const subjects: Subject[] = [];
  const rows: string[][] = [];
  try {
    for (const peer of PEERS)
      if (options.only.length === 0 || options.only.includes(peer.name)) subjects.push(await peer.start(site));
    for (const each of CASES) rows.push(...(await measureCase(site, subjects, each, options)));
  } finally {
    await Promise.all(subjects.map((subject) => subject.close()));
  }
  const head = ["handshake", "proxy", "µs a connection", "connections/s", "Sluice ÷ it", "target"];
  return `${renderTable(head, rows)}

${options.turns} turns of ${options.seconds} s, ${AT_ONCE} connections at a time, P-256, key exchange by X25519, TLS_AES_128_GCM_SHA256 or its like in TLS 1.2.`;
}

/** All proxies in turn; the ratios are of the same turn. */
async function measureCase(
  site: Site,
  subjects: readonly Subject[],
  each: Case,
  options: Options,
): Promise<string[][]> {
  const samples = new Map<string, Sample[]>(subjects.map(({ name }) => [name, []]));
  for (let turn = -1; turn < options.turns; turn++)
    for (let place = 0; place < subjects.length; place++) {
      const subject = subjects[(turn + 1 + place) % subjects.length]!;
      const sample = await measure(site, subject, each, turn < 0 ? options.warmUp : options.seconds);
      if (turn >= 0) samples.get(subject.name)!.push(sample);
    }
  const ours = samples.get(sluiceFront.name);
  return [...samples].map(([name, taken]) => {
    const ratio = spreadOf(taken.map(({ cpu }, turn) => (ours?.[turn]?.cpu ?? Number.NaN) / cpu));
    const compares = ours !== undefined && taken !== ours;
    return [
      `${each.resumed ? "resumed" : "full"}, ${each.version}`,
      name,
      spreadOf(taken.map(({ cpu }) => cpu)).median.toFixed(0),
      spreadOf(taken.map(({ rate }) => rate)).median.toFixed(0),
      compares ? `${ratio.median.toFixed(2)} (${ratio.low.toFixed(2)} to ${ratio.high.toFixed(2)})` : "",
      compares && name === nginxFront.name ? `≤ ${each.target}` : "",
    ];
  });
}

async function measure(
  site: Site,
  { port, pid }: Subject,
  { version, resumed }: Case,
  seconds: number,
): Promise<Sample> {
  const ca = readFileSync(site.path("ca.pem"));
  const target = { port, host: "127.0.0.1", servername: "localhost", ca, ecdhCurve: GROUPS };
  const base = { ...target, minVersion: version, maxVersion: version };
  const session = resumed ? await shake(base, false) : undefined;
  const options: ConnectionOptions = session === undefined ? base : { ...base, session };
  const [before, begin, end] = [readTimes(pid).ran, performance.now(), performance.now() + seconds * 1000];
  let count = 0;
  const client = async (): Promise<void> => {
    for (; performance.now() < end; count++) await shake(options, resumed);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, client));
  const micros = (performance.now() - begin) * 1000;
  return { cpu: (readTimes(pid).ran - before) / count, rate: (count * 1e6) / micros };
}

/** Opens a connection, takes the ticket of a full handshake, and closes the connection; returns the session. */
async function shake(options: ConnectionOptions, resumed: boolean): Promise<Buffer> {
  const socket: TLSSocket = connect(options);
  // A ticket of TLS 1.3 follows the handshake.
  const ticket = resumed ? [options.session as Buffer] : once(socket, "session");
  await once(socket, "secureConnect");
  if (socket.isSessionReused() !== resumed) throw new Error(`a handshake was ${resumed ? "not " : ""}resumed`);
  const [session] = (await ticket) as [Buffer];
  const closed = once(socket, "close");
  socket.resume().end();
  await closed;
  return session;
}
