/**
 * The listening addresses of the process. The main thread binds and the workers listen, so that a bind error occurs before
 * anything has changed, and a listener in service is never closed while its address is configured.
 */
import { lookup } from "node:dns/promises";
import { accessSync, constants, lstatSync, rmSync, statSync } from "node:fs";
import { BoundSocket, connect, isIP } from "node:net";
import { dirname } from "node:path";
import type { Address } from "../config/address-values.ts";
import { bindUdp, type UdpPlace } from "../net/udp.ts";
import type { PostedSocket } from "../worker/messages.ts";

/** How the text of a UDP address begins. */
const UDP = "udp:";
const QUIC = "quic:";

type Mutable<T extends readonly unknown[]> = T[number][];

export type Wanted = { readonly name: string; readonly address: Address };

/** The addresses of a version that is not committed yet. */
export type Opening = {
  /** Addresses by listener name; a port 0 is replaced by the number of the bound port. */
  readonly places: ReadonlyMap<string, Place>;
  /**
   * Bound sockets of new addresses, by the number of the worker that listens; null for a Unix socket and for `udp`, which
   * the worker binds. Connections of a `shared` one are distributed over all workers.
   */
  readonly sockets: readonly {
    readonly address: string;
    readonly workers: readonly (BoundSocket | null)[];
    readonly shared: boolean;
    readonly udp: UdpPlace | null;
  }[];
};

/** `host` is numeric, or "" for all interfaces. */
type Place = {
  readonly key: string;
  readonly text: string;
  readonly host: string;
  readonly port: number;
  readonly path: string;
  readonly udp: boolean;
};

/** Never removed: it takes the sockets of leaving workers, and accepts on addresses that cannot be shared. */
export const FIRST_WORKER = 0;

export class Listeners {
  readonly #workers: () => readonly number[];
  /** Addresses in service, by `keyOf`. */
  #serving: ReadonlyMap<string, Place> = new Map();
  /** Ports and paths that this process has listened at: a worker may still be closing a removed one. */
  readonly #own = new Set<number | string>();
  /** Number of sockets transferred from removed workers to the first one, by address, until another worker gets them. */
  readonly #transferred = new Map<string, number>();
  /** Addresses at which a new worker gets a transferred socket instead of a new one. */
  readonly #assigned = new Map<number, string[]>();

  /** Whether several workers can listen at one port; if the system does not support it, the first accepts for all. */
  #reusePort: boolean;

  constructor(workers: () => readonly number[], reusePort = process.env.SLUICE_ACCEPT !== "transfer") {
    this.#workers = workers;
    this.#reusePort = reusePort;
  }

  /** Binds the addresses that are not in service. @throws Error with the listener and the address */
  async open(wanted: readonly Wanted[]): Promise<Opening> {
    const places = new Map<string, Place>();
    const sockets: Mutable<Opening["sockets"]> = [];
    try {
      for (const { name, address } of wanted) {
        const key = keyOf(name, address);
        const serving = this.#serving.get(key);
        if (serving !== undefined) {
          places.set(name, serving);
          continue;
        }
        const { place, workers } = await this.#bind(key, name, address);
        const shared = place.path === "" && !place.udp && !this.#reusePort;
        sockets.push({ address: place.text, workers, shared, udp: this.#udpOf(place) });
        places.set(name, place);
      }
    } catch (error) {
      closeAll(sockets);
      throw error;
    }
    return { places, sockets };
  }

  /** Takes the opened addresses into service, and removes all others. */
  commit(opening: Opening): void {
    this.#serving = new Map([...opening.places.values()].map((place) => [place.key, place]));
    for (const place of this.#serving.values()) this.#own.add(ownerKey(place));
    const addresses = new Set([...this.#serving.values()].map((place) => place.text));
    for (const address of this.#transferred.keys()) if (!addresses.has(address)) this.#transferred.delete(address);
  }

  /** Closes the sockets that were not posted; a posted one belongs to its worker. */
  release(opening: Opening): void {
    closeAll(opening.sockets);
  }

  /** Binds every address in service for a new worker, except those where it gets a transferred socket. */
  bindAgain(worker: number): PostedSocket[] {
    const sockets: PostedSocket[] = [];
    for (const address of this.takeAssigned(worker)) this.addTransferred(address);
    if (worker === FIRST_WORKER) this.#transferred.clear();
    for (const place of this.#serving.values()) {
      const { text, host, port, path } = place;
      const udp = this.#udpOf(place);
      if (udp !== null) {
        if (!this.#isSingle(place) || worker === FIRST_WORKER)
          sockets.push({ address: text, socket: null, shared: false, udp });
        continue;
      }
      if (path === "" && this.#reusePort) {
        if (this.#assign(worker, text)) continue;
        sockets.push({ address: text, socket: bindPort(host, port, true), shared: false, udp: null });
      } else if (worker === FIRST_WORKER) {
        if (path !== "") rmSync(path, { force: true });
        const socket = path === "" ? bindPort(host, port, false) : null;
        sockets.push({ address: text, socket, shared: path === "", udp: null });
      }
    }
    return sockets;
  }

  /** Records that a leaving worker's socket was transferred to the first worker. */
  addTransferred(address: string): void {
    this.#transferred.set(address, (this.#transferred.get(address) ?? 0) + 1);
  }

  /** Returns, once, the addresses at which `worker` gets a socket from the first worker. */
  takeAssigned(worker: number): readonly string[] {
    const addresses = this.#assigned.get(worker) ?? [];
    this.#assigned.delete(worker);
    return addresses;
  }

  #assign(worker: number, address: string): boolean {
    const transferred = this.#transferred.get(address) ?? 0;
    if (transferred === 0) return false;
    this.#transferred.set(address, transferred - 1);
    this.#assigned.getOrInsert(worker, []).push(address);
    return true;
  }

  async #bind(key: string, name: string, address: Address): Promise<{ place: Place; workers: (BoundSocket | null)[] }> {
    const { text, path, port } = address;
    const udp = isUdp(text);
    try {
      if (path !== "") {
        if (!this.#own.has(path)) await clearStalePath(path);
        // A Unix socket has no `reusePort` and cannot be posted: only the first worker binds and serves it.
        return { place: { key, text, host: "", port, path, udp }, workers: [null] };
      }
      const host = await numericHost(address.host);
      // Bound without `reusePort`: a port of another process is an error, even if that process allows sharing.
      const isOwn = port !== 0 && this.#own.has(ownerKey({ port, path, udp }));
      const number = isOwn ? port : udp ? await probeUdp(host, port) : probe(host, port);
      const shown = port === 0 ? text.replace(/0$/, String(number)) : text;
      const place = { key, text: shown, host, port: number, path, udp };
      return { place, workers: udp ? this.#udpWorkers(place) : this.#bindForWorkers(host, number) };
    } catch (error) {
      throw new Error(`listener ${name}: cannot listen at ${text}: ${describe(error)}`, { cause: error });
    }
  }

  /**
   * What a worker binds for a UDP address; null: it is none. A listener that drains shares the address with its
   * successor.
   */
  #udpOf({ host, port, udp }: Place): UdpPlace | null {
    return udp ? { host, port, reusePort: this.#reusePort } : null;
  }

  /**
   * Whether the first worker alone binds a UDP address: sessions that are found by their connection ID must all be on
   * one.
   */
  #isSingle({ text }: Place): boolean {
    return !this.#reusePort || text.startsWith(QUIC);
  }

  #udpWorkers(place: Place): null[] {
    const workers: null[] = [];
    if (this.#isSingle(place)) return [null];
    for (const worker of this.#workers()) workers[worker] = null;
    return workers;
  }

  #bindForWorkers(host: string, port: number): BoundSocket[] {
    const workers: BoundSocket[] = [];
    try {
      if (this.#reusePort) for (const worker of this.#workers()) workers[worker] = bindPort(host, port, true);
    } catch (error) {
      for (const socket of workers) socket?.close();
      if (codeOf(error) !== "ENOTSUP") throw error;
      this.#reusePort = false;
    }
    return this.#reusePort ? workers : [bindPort(host, port, false)];
  }
}

function isUdp(text: string): boolean {
  return text.startsWith(UDP) || text.startsWith(QUIC);
}

/** Identifies a port of TCP or UDP, or a path. */
function ownerKey({ port, path, udp }: Pick<Place, "port" | "path" | "udp">): number | string {
  return path !== "" ? path : udp ? `udp ${port}` : port;
}

/** Identifies an address. Port 0 is a different port for each listener. */
function keyOf(name: string, { text, port, path }: Address): string {
  return port === 0 && path === "" ? `${name} ${text}` : text;
}

async function numericHost(host: string): Promise<string> {
  if (host === "" || isIP(host) !== 0) return host;
  return (await lookup(host, { order: "ipv4first" })).address;
}

/** Returns the number of a free port: `port`, or any for 0. @throws Error if it is in use */
function probe(host: string, port: number): number {
  const socket = bindPort(host, port, false);
  const number = socket.address().port;
  socket.close();
  return number;
}

async function probeUdp(host: string, port: number): Promise<number> {
  const socket = await bindUdp({ host, port, reusePort: false });
  const number = socket.address().port;
  await new Promise<void>((closed) => socket.close(closed));
  return number;
}

function bindPort(host: string, port: number, reusePort: boolean): BoundSocket {
  if (host !== "") return new BoundSocket({ host, port, reusePort });
  try {
    // Dual stack: `::` accepts IPv4 too.
    return new BoundSocket({ host: "::", port, reusePort });
  } catch (error) {
    if (["EADDRINUSE", "EACCES", "ENOTSUP"].includes(codeOf(error))) throw error;
    return new BoundSocket({ host: "0.0.0.0", port, reusePort });
  }
}

/**
 * Removes the socket of a process that was killed. @throws Error if it is in use or no socket, or if its directory does
 * not exist
 */
async function clearStalePath(path: string): Promise<void> {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return checkDirectory(dirname(path));
  if (!found.isSocket()) throw new Error("the path is a file that is not a socket");
  const code = await new Promise<string>((resolve) => {
    const socket = connect({ path });
    socket.on("error", (error) => resolve(codeOf(error)));
    socket.on("connect", () => {
      socket.destroy();
      resolve("");
    });
  });
  // Only ECONNREFUSED proves that no process listens: a full queue or another user gives other codes.
  if (code !== "ECONNREFUSED" && code !== "ENOENT") throw new Error("address already in use");
  rmSync(path, { force: true });
}

/** Distinguishes a missing directory from missing permissions: `bind` reports both as EACCES. */
function checkDirectory(path: string): void {
  const found = statSync(path, { throwIfNoEntry: false });
  if (found === undefined) throw new Error("its directory does not exist");
  if (!found.isDirectory()) throw new Error(`${path} is not a directory`);
  accessSync(path, constants.W_OK | constants.X_OK);
}

function closeAll(sockets: Opening["sockets"]): void {
  for (const { workers } of sockets) for (const socket of workers) socket?.[Symbol.dispose]();
}

function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error ? String(error.code) : "";
}

const PROBLEMS: Readonly<Record<string, string>> = {
  EADDRINUSE: "address already in use",
  EACCES: "permission denied",
  EADDRNOTAVAIL: "no interface of this machine has that address",
  ENOTFOUND: "the name is unknown",
};

function describe(error: unknown): string {
  return PROBLEMS[codeOf(error)] ?? (error instanceof Error ? error.message : String(error));
}
