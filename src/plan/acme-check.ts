/** Checks what automatic certificates need, as far as it can be known before they are ordered. */
import { access, constants, stat } from "node:fs/promises";
import { dirname } from "node:path";
import type { Config, ListenerConfig, Problem } from "../config/schema.ts";
import type { TlsServerOptions } from "../net/tls-server.ts";

type Parts = Pick<Config, "listeners"> & { readonly acme?: Config["acme"] | undefined };

function isUsed({ tls }: ListenerConfig): boolean {
  return tls !== undefined && (tls.managed.length > 0 || tls.onDemand);
}

/** Whether it responds to plain HTTP, and so to challenges by HTTP-01: with `protocol: auto` beside TLS, too. */
export function servesPlainHttp({ tls, protocol }: ListenerConfig): boolean {
  return protocol === "auto" || (protocol === "http" && tls === undefined);
}

/** Problems of `acme`; none where no listener uses it. */
export async function checkAcme({ acme, listeners }: Parts): Promise<Problem[]> {
  if (acme === undefined || !listeners.some(isUsed)) return [];
  const problems: Problem[] = [];
  const isPlain = listeners.some(servesPlainHttp);
  if (!isPlain && acme.challenges.every((type) => type === "http-01"))
    problems.push({
      ...acme.at,
      message:
        '"http-01" needs a listener of plain HTTP, expected one without "tls" or with "protocol: auto", or "tls-alpn-01"',
    });
  const { path, at } = acme.storage;
  const cause = await findObstacle(path);
  if (cause !== "") problems.push({ ...at, message: `${path} cannot be used as directory: ${cause}` });
  return problems;
}

/** Why a directory cannot be written, or created; empty: it can. */
async function findObstacle(path: string): Promise<string> {
  try {
    if (!(await stat(path)).isDirectory()) return "there is a file of this name";
    await access(path, constants.R_OK | constants.W_OK | constants.X_OK);
    return "";
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code !== "ENOENT" || dirname(path) === path) return message;
    return findObstacle(dirname(path));
  }
}

/** Warnings about names of automatic certificates that are never used. */
export function findUnusedNames(
  { managed }: NonNullable<ListenerConfig["tls"]>,
  certificates: TlsServerOptions["certificates"],
): Problem[] {
  const seen = new Set<string>(certificates.flatMap(({ names }) => names));
  return managed.flatMap(({ names, at }) => {
    const known = names.filter((name) => seen.has(name));
    for (const name of names) seen.add(name);
    return known.length === 0
      ? []
      : [
          {
            ...at,
            message: `never used for ${known.join(", ")}: an earlier certificate, or one from a file, has the name`,
          },
        ];
  });
}
