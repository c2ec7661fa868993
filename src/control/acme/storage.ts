/**
 * ACME state on disk: the account of each server, and for each certificate a PEM file with key and chain, and a file with
 * the state of its attempts. Files have mode 0600, directories 0700; a file is replaced as a whole, so that a crash
 * leaves the old one or the new one.
 */
import { createHash } from "node:crypto";
import { mkdir, open, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { lock } from "./lock.ts";
import type { Obtained, SavedOrder } from "./order.ts";
import { parseObject } from "./problem.ts";
import type { Suggestion } from "./schedule.ts";

/** Most bytes of a file that is read. */
const MAX_FILE = 1024 * 1024;

export type SavedAccount = {
  readonly key: string;
  readonly url: string;
  readonly contact: readonly string[];
  /** Key id of the external account that it is bound to; empty: none. */
  readonly externalKey: string;
};

/** State of the attempts for one certificate. */
export type SavedState = {
  readonly names: readonly string[];
  /** Attempts in a row that failed, including one that was interrupted by the end of the process. */
  readonly failures: number;
  /** Wall-clock ms before which no attempt is made; 0: none. */
  readonly nextTry: number;
  /** Cause of the last failure; empty: none. */
  readonly problem: string;
  readonly order: SavedOrder | null;
  readonly suggestion: Suggestion | null;
  /** When the last certificate was obtained, wall-clock ms; 0: never. */
  readonly issuedAt: number;
  /** Orders in a row, each soon after the one before (`isEarly`). */
  readonly early: number;
};

/** A file name for a certificate: readable, and unique for these names. Names are valid DNS names. */
export function fileNameOf(names: readonly string[]): string {
  return `${names[0]!.slice(0, 100)}-${hashOf([...names].sort().join())}`;
}

function hashOf(text: string): string {
  return createHash("sha256").update(text).digest("hex").slice(0, 16);
}

export const NEW_STATE: SavedState = {
  names: [],
  failures: 0,
  nextTry: 0,
  problem: "",
  order: null,
  suggestion: null,
  issuedAt: 0,
  early: 0,
};

/** Null: a value has another type than this program writes. */
function readState(value: Partial<Record<keyof SavedState, unknown>>): SavedState | null {
  const state = { ...NEW_STATE, ...value } as SavedState;
  const { names, problem, order, suggestion } = state;
  const numbers = [state.failures, state.nextTry, state.issuedAt, state.early];
  if (suggestion !== null) numbers.push(suggestion?.start, suggestion?.end, suggestion?.at, suggestion?.checkAt);
  const texts = [problem, ...(order === null ? [] : [order?.url, order?.key]), ...(Array.isArray(names) ? names : [0])];
  const isValid =
    numbers.every((one) => Number.isFinite(one)) && (texts as unknown[]).every((one) => typeof one === "string");
  return isValid ? state : null;
}

/** The directory of an ACME server under the configured one. */
export function directoryOf(root: string, server: string): string {
  return join(root, `${new URL(server).hostname}-${hashOf(server)}`);
}

export class AccountFile {
  readonly path: string;

  constructor(directory: string) {
    this.path = join(directory, "account.json");
  }

  /** Null: there is none. @throws Error if it cannot be used: it is not replaced, since the account would be lost */
  async read(): Promise<SavedAccount | null> {
    const text = await read(this.path);
    if (text === null) return null;
    const { key, url, contact, externalKey = "" } = parseObject(text) ?? {};
    if (
      typeof key !== "string" ||
      typeof url !== "string" ||
      !Array.isArray(contact) ||
      typeof externalKey !== "string"
    )
      throw new Error(`${this.path} is not the file of an account`);
    return { key, url, contact: contact.map(String), externalKey };
  }

  lock(signal: AbortSignal): Promise<() => Promise<void>> {
    return lock(`${this.path}.lock`, signal);
  }

  write(account: SavedAccount): Promise<void> {
    return replaceFile(this.path, JSON.stringify(account));
  }
}

/** A directory of certificates with the states of their attempts. */
export class CertificateFiles {
  readonly directory: string;

  constructor(directory: string) {
    this.directory = directory;
  }

  /** Null: there is none. */
  async readCertificate(id: string): Promise<Obtained | null> {
    const text = await read(join(this.directory, `${id}.pem`));
    if (text === null) return null;
    const at = Math.max(text.indexOf("-----BEGIN CERTIFICATE-----"), 0);
    return { key: text.slice(0, at), cert: text.slice(at) };
  }

  /** Key and chain are in one file, so that they always belong together. */
  writeCertificate(id: string, { key, cert }: Obtained): Promise<void> {
    return replaceFile(join(this.directory, `${id}.pem`), key + cert);
  }

  lock(id: string, signal: AbortSignal): Promise<() => Promise<void>> {
    return lock(join(this.directory, `${id}.lock`), signal);
  }

  /** Null: there is none, or it is damaged, and the attempts begin again. */
  async readState(id: string): Promise<SavedState | null> {
    const text = await read(join(this.directory, `${id}.json`));
    const value = text === null ? null : parseObject(text);
    return value === null ? null : readState(value);
  }

  writeState(id: string, state: SavedState): Promise<void> {
    return replaceFile(join(this.directory, `${id}.json`), JSON.stringify(state));
  }

  async remove(id: string): Promise<void> {
    for (const extension of ["pem", "json"]) await rm(join(this.directory, `${id}.${extension}`), { force: true });
  }

  /** Names of the certificates' files without their extension. */
  async list(): Promise<string[]> {
    const files = await readdir(this.directory).catch(absent);
    return (files ?? []).flatMap((file) => /^(.*)\.pem$/.exec(file)?.[1] ?? []);
  }
}

/** Null: there is no such file. */
async function read(path: string): Promise<string | null> {
  const text = await readFile(path, "utf8").catch(absent);
  if (text !== null && text.length > MAX_FILE) throw new Error(`${path} has more than ${MAX_FILE} bytes`);
  return text;
}

/** @throws Error that names the file: those of a full disk do not */
async function replaceFile(path: string, content: string): Promise<void> {
  const temporary = `${path}.tmp`;
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    await writeFile(temporary, content, { mode: 0o600, flush: true });
    await rename(temporary, path);
    const directory = await open(dirname(path), "r");
    await directory.sync().finally(() => directory.close());
  } catch (error) {
    // What could be written of it would occupy a full disk.
    await rm(temporary, { force: true }).catch(() => undefined);
    throw new Error(`${path} cannot be written: ${(error as Error).message}`, { cause: error });
  }
}

function absent(error: NodeJS.ErrnoException): null {
  if (error.code === "ENOENT") return null;
  throw error;
}
