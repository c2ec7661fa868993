/** Connections that are relayed through each proxy: processor time of a message and its echo, and memory while idle. */
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import type { Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import type { Options } from "./options.ts";
import { readRss, readTimes } from "./programs.ts";
import type { Site } from "./site.ts";
import { spreadOf } from "./statistics.ts";
import type { Peer, Subject } from "./subject.ts";
import { renderTable } from "./table.ts";

export type Relay = {
  /** Ours first. */
  readonly peers: readonly Peer[];
  /** Bytes of a message. */
  readonly sizes: readonly number[];
  /** By peer, for each of the sizes: what our time divided by its is to be at most. */
  readonly targets: Readonly<Record<string, readonly string[]>>;
  message(size: number): Buffer;
  /** Connections that send messages back. */
  open(port: number, count: number): Promise<Socket[]>;
  startEcho(): Promise<{ address: string; close(): void }>;
};

/** A proxy needs two descriptors for each, and has 20,000. */
const STEP = 4000;
const GROUP = 50;
const SETTLE = 3000;

/** `measureFurther`: further tables, of the same site. */
export async function runRelay(
  shared: Site,
  options: Options,
  relay: Relay,
  measureFurther: (site: Site, peers: readonly Peer[]) => Promise<string> = async () => "",
): Promise<string> {
  // The load and the echo are in this process: it must leave the proxies' core alone.
  execFileSync("taskset", ["-acp", String(shared.loadCore), String(process.pid)]);
  const echo = await relay.startEcho();
  const site = { ...shared, groups: { app: [echo.address], canary: [echo.address] } };
  const peers = relay.peers.filter(({ name }) => options.only.length === 0 || options.only.includes(name));
  try {
    const messages: string[][] = [];
    for (const size of relay.sizes) messages.push(...(await measureMessages(site, relay, peers, size, options)));
    const further = await measureFurther(site, peers);
    const idle: string[][] = [];
    for (const peer of peers) idle.push(await measureIdle(site, relay, peer));
    return `${renderTable(["bytes of a message", "proxy", "µs a message and its echo", "Sluice ÷ it", "target"], messages)}

${further}${renderTable(["proxy", "RSS MiB before", "of 4,000", "of 8,000", "KiB each of the first", "of the second"], idle)}

Idle: one message and its echo on each, then ${SETTLE / 1000} s of silence.`;
  } finally {
    echo.close();
  }
}

/** All proxies in turn, as often as options say; the ratios are of the same turn. */
async function measureMessages(site: Site, relay: Relay, peers: readonly Peer[], size: number, options: Options) {
  const subjects: Subject[] = [];
  const times = new Map<string, number[]>(peers.map(({ name }) => [name, []]));
  try {
    for (const peer of peers) subjects.push(await peer.start(site));
    for (let turn = -1; turn < options.turns; turn++)
      for (let place = 0; place < subjects.length; place++) {
        const subject = subjects[(turn + 1 + place) % subjects.length]!;
        const time = await talk(relay, subject, size, turn < 0 ? options.warmUp : options.seconds);
        if (turn >= 0) times.get(subject.name)!.push(time);
      }
  } finally {
    await Promise.all(subjects.map((subject) => subject.close()));
  }
  const ours = times.get(relay.peers[0]!.name) ?? [];
  return peers.map(({ name }) => {
    const taken = times.get(name)!;
    const ratio = spreadOf(taken.map((time, turn) => ours[turn]! / time));
    const isOurs = name === relay.peers[0]!.name;
    const shown = `${ratio.median.toFixed(2)} (${ratio.low.toFixed(2)} to ${ratio.high.toFixed(2)})`;
    const compares = !isOurs && ours.length > 0;
    return [
      size.toLocaleString("en"),
      name,
      spreadOf(taken).median.toFixed(1),
      compares ? shown : "",
      compares ? (relay.targets[name]?.[relay.sizes.indexOf(size)] ?? "") : "",
    ];
  });
}

/** Every connection sends its next message when it has the last one back. Processor time of the proxy for each, µs. */
async function talk(
  { message: messageOf, open }: Relay,
  { port, pid }: Subject,
  size: number,
  seconds: number,
): Promise<number> {
  const message = messageOf(size);
  const sockets = await open(port, size > 100_000 ? 4 : 32);
  let count = 0;
  for (const socket of sockets) {
    let got = 0;
    socket.on("data", (bytes: Buffer) => {
      got += bytes.length;
      if (got < message.length) return;
      got = 0;
      count++;
      socket.write(message);
    });
    socket.write(message);
  }
  await sleep(200);
  const [ran, before] = [readTimes(pid).ran, count];
  await sleep(seconds * 1000);
  const time = (readTimes(pid).ran - ran) / (count - before);
  for (const socket of sockets) socket.destroy();
  return time;
}

async function measureIdle(site: Site, { message: messageOf, open }: Relay, peer: Peer): Promise<string[]> {
  const subject = await peer.start(site);
  const sockets: Socket[] = [];
  const message = messageOf(100);
  try {
    for (const socket of await open(subject.port, GROUP)) socket.destroy();
    await sleep(SETTLE);
    const steps = [readRss(subject.pid)];
    for (const count of [STEP, 2 * STEP]) {
      while (sockets.length < count) {
        const opened = await open(subject.port, GROUP);
        for (const socket of opened) socket.write(message);
        await Promise.all(opened.map((socket) => once(socket, "data")));
        sockets.push(...opened);
      }
      await sleep(SETTLE);
      steps.push(readRss(subject.pid));
    }
    const ended = sockets.filter((socket) => socket.destroyed || socket.readableEnded).length;
    if (ended > 0) throw new Error(`${peer.name}: ${ended} of ${sockets.length} connections have ended`);
    const each = [1, 2].map((step) => (steps[step]! - steps[step - 1]!) / STEP / 1024);
    return [peer.name, ...steps.map((bytes) => (bytes / 1024 ** 2).toFixed(1)), ...each.map((size) => size.toFixed(2))];
  } finally {
    for (const socket of sockets) socket.destroy();
    await subject.close();
  }
}
