/**
 * Locks between processes that share a storage, as two proxies do while one replaces the other: files that exist while
 * something is done. The lock of a process that has ended without removing it is taken over: at once if its number says
 * so, otherwise when it was not refreshed for STALE ms. Two containers may have the same host name and number of the
 * process, so a number is compared only within one process namespace.
 */
import { randomUUID } from "node:crypto";
import { readFileSync, readlinkSync } from "node:fs";
import { mkdir, open, readFile, rename, rm, stat, utimes } from "node:fs/promises";
import { hostname } from "node:os";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseObject } from "./problem.ts";

/** ms. */
const REFRESH = 10_000;
const STALE = 60_000;
/** How long a lock of another process is awaited. */
const LONGEST_WAIT = 30_000;
const POLL = 200;

/** `space`: identifies the process namespace that `pid` is of. */
type Holder = { readonly id: string; readonly pid: number; readonly host: string; readonly space: string };

let ownSpace: string | undefined;

/** The process namespace and the start of its system; empty where the system has neither: then the host has one. */
function space(): string {
  ownSpace ??= ["/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid"].map(readLine).join(" ").trim();
  return ownSpace;
}

function readLine(path: string): string {
  try {
    return path.startsWith("/proc/self/") ? readlinkSync(path) : readFileSync(path, "utf8").trim();
  } catch {
    return "";
  }
}

/** Ids of the locks of this process. */
const held = new Set<string>();

/** Another process has a lock for too long. */
export class LockedError extends Error {}

/**
 * Returns the function that releases the lock. A directory that cannot be written does not stop what the lock is for: it
 * reports the cause itself. @throws LockedError, or Error when `signal` is aborted
 */
export async function lock(path: string, signal: AbortSignal, wait = LONGEST_WAIT): Promise<() => Promise<void>> {
  const holder: Holder = { id: randomUUID(), pid: process.pid, host: hostname(), space: space() };
  for (const end = performance.now() + wait; ; ) {
    const result = await create(path, holder);
    if (result === "failed") return async () => {};
    if (result === "created") break;
    const other = await readHolder(path);
    if (other !== null && (await isStale(path, other))) await discard(path, other, holder.id);
    else if (performance.now() >= end)
      throw new LockedError(`${path} is held by process ${other?.pid ?? "unknown"} on ${other?.host ?? "unknown"}`);
    else await sleep(POLL, undefined, { signal });
  }
  held.add(holder.id);
  const timer = setInterval(() => {
    const now = new Date();
    utimes(path, now, now).catch(() => undefined);
  }, REFRESH).unref();
  return async () => {
    clearInterval(timer);
    held.delete(holder.id);
    // After a long stop of this process, another one may have taken it over.
    if ((await readHolder(path))?.id === holder.id) await rm(path, { force: true }).catch(() => undefined);
  };
}

async function create(path: string, holder: Holder): Promise<"created" | "exists" | "failed"> {
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  } catch {
    return "failed";
  }
  try {
    const file = await open(path, "wx", 0o600);
    await file.writeFile(JSON.stringify(holder)).finally(() => file.close());
    return "created";
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return "exists";
    // The disk may be full.
    await rm(path, { force: true }).catch(() => undefined);
    return "failed";
  }
}

/** Null: there is none any more. One that is incomplete is of an unknown process. */
async function readHolder(path: string): Promise<Holder | null> {
  const text = await readFile(path, "utf8").catch(() => null);
  if (text === null) return null;
  const { id, pid, host, space } = parseObject(text) ?? {};
  return { id: String(id), pid: Number(pid), host: String(host), space: String(space) };
}

async function isStale(path: string, { id, pid, host, space: other }: Holder): Promise<boolean> {
  const found = await stat(path).catch(() => null);
  if (found === null) return false;
  if (Date.now() - found.mtimeMs > STALE) return true;
  if (host !== hostname() || other !== space() || !Number.isInteger(pid)) return false;
  return pid === process.pid ? !held.has(id) : !isRunning(pid);
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

/** Removes a stale lock, unless another process has replaced it meanwhile. */
async function discard(path: string, stale: Holder, own: string): Promise<void> {
  const aside = `${path}.${own}`;
  try {
    await rename(path, aside);
    if ((await readHolder(aside))?.id === stale.id) await rm(aside, { force: true });
    else await rename(aside, path);
  } catch {
    // Another process was faster.
  }
}
