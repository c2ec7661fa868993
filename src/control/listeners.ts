/**
 * The listening addresses of the process. The main thread binds, the workers listen: every bind error comes
 * before anything is changed, and a listener in service is never closed while its address stays.
 */
import { lookup } from "node:dns/promises";
import { accessSync, constants, lstatSync, rmSync, statSync } from "node:fs";
import { BoundSocket, connect, isIP } from "node:net";
import { dirname } from "node:path";
import type { Address } from "../config/values.ts";
import type { PostedSocket } from "../worker/messages.ts";

export type Wanted = { readonly name: string; readonly address: Address };

/** What a version listens at; opened for one that is not committed yet. */
export type Opening = {
  /** For each listener, by name: where it is, its address with its number (a port 0 has become one). */
  readonly places: ReadonlyMap<string, Place>;
  /**
   * Bound sockets of addresses that are new, by the number of the worker that listens there; null for a Unix socket.
   * What comes in at one that is `shared` is dealt out among all workers.
   */
  readonly sockets: readonly {
    readonly address: string;
    readonly workers: readonly (BoundSocket | null)[];
    readonly shared: boolean;
  }[];
};

/** `host` is numeric, or "" for all interfaces. */
type Place = {
  readonly key: string;
  readonly text: string;
  readonly host: string;
  readonly port: number;
  readonly path: string;
};

/** It is always there: it takes over from workers that leave, and alone accepts what cannot be shared. */
export const FIRST_THREAD = 0;

export class Listeners {
  readonly #workers: () => readonly number[];
  /** What is in service, by `keyOf`. */
  #serving: ReadonlyMap<string, Place> = new Map();
  /** Ports and paths that this process has listened at: some worker may still be closing one that was given up. */
  readonly #own = new Set<number | string>();

  /** Sockets of workers that left, by address: the first worker listens with them, until another takes them over. */
  readonly #inherited = new Map<string, number>();
  /** Addresses at which a worker has no socket of its own, because it will take over an inherited one. */
  readonly #owed = new Map<number, string[]>();

  /** Whether several workers can listen at one port. Where the system has no such option, the first accepts for all. */
  #reusePort: boolean;

  constructor(workers: () => readonly number[], reusePort = process.env.SLUICE_ACCEPT !== "transfer") {
    this.#workers = workers;
    this.#reusePort = reusePort;
  }

  /** Binds what is not in service yet. @throws Error naming the listener and the address that cannot be had. */
  async open(wanted: readonly Wanted[]): Promise<Opening> {
    const places = new Map<string, Place>();
    const sockets: { address: string; workers: (BoundSocket | null)[]; shared: boolean }[] = [];
    try {
      for (const { name, address } of wanted) {
        const key = keyOf(name, address);
        const serving = this.#serving.get(key);
        if (serving !== undefined) {
          places.set(name, serving);
          continue;
        }
        const { place, workers } = await this.#bind(key, name, address);
        sockets.push({ address: place.text, workers, shared: place.path === "" && !this.#reusePort });
        places.set(name, place);
      }
    } catch (error) {
      closeAll(sockets);
      throw error;
    }
    return { places, sockets };
  }

  /** What was opened is in service now, and nothing else is. */
  commit(opening: Opening): void {
    this.#serving = new Map([...opening.places.values()].map((place) => [place.key, place]));
    for (const place of this.#serving.values()) this.#own.add(place.path === "" ? place.port : place.path);
    const addresses = new Set([...this.#serving.values()].map((place) => place.text));
    for (const address of this.#inherited.keys()) if (!addresses.has(address)) this.#inherited.delete(address);
  }

  /** Closes what no worker was given. Sockets that were posted belong to their worker. */
  release(opening: Opening): void {
    closeAll(opening.sockets);
  }

  /** Binds every address in service once more, for `worker` that is new: where nothing waits to be taken over. */
  bindAgain(worker: number): PostedSocket[] {
    const sockets: PostedSocket[] = [];
    for (const address of this.owed(worker)) this.inherit(address);
    if (worker === FIRST_THREAD) this.#inherited.clear();
    for (const { text, host, port, path } of this.#serving.values()) {
      if (path === "" && this.#reusePort) {
        if (this.#owe(worker, text)) continue;
        sockets.push({ address: text, socket: bindPort(host, port, true), shared: false });
      } else if (worker === FIRST_THREAD) {
        if (path !== "") rmSync(path, { force: true });
        const socket = path === "" ? bindPort(host, port, false) : null;
        sockets.push({ address: text, socket, shared: path === "" });
      }
    }
    return sockets;
  }

  /** The first worker has taken over a socket of a worker that leaves. */
  inherit(address: string): void {
    this.#inherited.set(address, (this.#inherited.get(address) ?? 0) + 1);
  }

  /** The addresses at which `worker` takes over a socket from the first one. They are told of once. */
  owed(worker: number): readonly string[] {
    const addresses = this.#owed.get(worker) ?? [];
    this.#owed.delete(worker);
    return addresses;
  }

  #owe(worker: number, address: string): boolean {
    const inherited = this.#inherited.get(address) ?? 0;
    if (inherited === 0) return false;
    this.#inherited.set(address, inherited - 1);
    const owed = this.#owed.get(worker);
    if (owed === undefined) this.#owed.set(worker, [address]);
    else owed.push(address);
    return true;
  }

  async #bind(key: string, name: string, address: Address): Promise<{ place: Place; workers: (BoundSocket | null)[] }> {
    const { text, path, port } = address;
    try {
      if (path !== "") {
        if (!this.#own.has(path)) await clearStalePath(path);
        // It knows no `reusePort` and cannot be posted: the first worker binds it, and serves it alone.
        return { place: { key, text, host: "", port, path }, workers: [null] };
      }
      const host = await numericHost(address.host);
      // Without `reusePort` a port in use is an error, even when its user allows sharing; our own workers do.
      const number = port !== 0 && this.#own.has(port) ? port : probe(host, port);
      const shown = port === 0 ? text.replace(/0$/, String(number)) : text;
      return { place: { key, text: shown, host, port: number, path }, workers: this.#bindForWorkers(host, number) };
    } catch (error) {
      throw new Error(`listener ${name}: cannot listen at ${text}: ${describe(error)}`, { cause: error });
    }
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

/** A port 0 is another number for each listener; any other address is one place, whatever the listener's name. */
function keyOf(name: string, { text, port, path }: Address): string {
  return port === 0 && path === "" ? `${name} ${text}` : text;
}

async function numericHost(host: string): Promise<string> {
  if (host === "" || isIP(host) !== 0) return host;
  return (await lookup(host, { order: "ipv4first" })).address;
}

/** The number of a port that nobody listens at. */
function probe(host: string, port: number): number {
  const socket = bindPort(host, port, false);
  const number = socket.address().port;
  socket.close();
  return number;
}

function bindPort(host: string, port: number, reusePort: boolean): BoundSocket {
  if (host !== "") return new BoundSocket({ host, port, reusePort });
  try {
    // Dual stack: `::` takes IPv4 as well.
    return new BoundSocket({ host: "::", port, reusePort });
  } catch (error) {
    if (["EADDRINUSE", "EACCES", "ENOTSUP"].includes(codeOf(error))) throw error;
    return new BoundSocket({ host: "0.0.0.0", port, reusePort });
  }
}

/**
 * Takes away what a killed process left. @throws Error when a process listens there, it is no socket, or there is no
 * directory for it.
 */
async function clearStalePath(path: string): Promise<void> {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return checkDirectory(dirname(path));
  if (!found.isSocket()) throw new Error("a file that is no socket stands there");
  const refusal = await new Promise<string>((resolve) => {
    const socket = connect({ path });
    socket.on("error", (error) => resolve(codeOf(error)));
    socket.on("connect", () => {
      socket.destroy();
      resolve("");
    });
  });
  // Only a refused connection says that no process is there: one with a full queue, or of another user, says otherwise.
  if (refusal !== "ECONNREFUSED" && refusal !== "ENOENT") throw new Error("address already in use");
  rmSync(path, { force: true });
}

/** The system says EACCES of a missing directory too. */
function checkDirectory(path: string): void {
  const found = statSync(path, { throwIfNoEntry: false });
  if (found === undefined) throw new Error("its directory does not exist");
  if (!found.isDirectory()) throw new Error(`${path} is no directory`);
  accessSync(path, constants.W_OK | constants.X_OK);
}

function closeAll(sockets: Opening["sockets"]): void {
  for (const { workers } of sockets) for (const socket of workers) socket?.[Symbol.dispose]();
}

function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error ? String(error.code) : "";
}

function describe(error: unknown): string {
  switch (codeOf(error)) {
    case "EADDRINUSE":
      return "address already in use";
    case "EACCES":
      return "permission denied";
    case "EADDRNOTAVAIL":
      return "no interface of this machine has that address";
    case "ENOTFOUND":
      return "the name is unknown";
    default:
      return error instanceof Error ? error.message : String(error);
  }
}
