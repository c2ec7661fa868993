/**
 * Access control of the admin interface. With a token, clients must send it. Without one, only this machine can reach
 * the interface, but web pages in its browsers can send requests: other host names are rejected (DNS rebinding), and
 * requests that change state must have the same origin (cross-site request forgery).
 */
import { createHash, timingSafeEqual } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { isIP } from "node:net";
import { hostname } from "node:os";
import type { Address } from "../config/schema.ts";

export type Access = {
  /** The required token; null: none. */
  readonly token: string | null;
  /** Further accepted names in `Host`: exact, or with one leading `*.`. */
  readonly hosts: readonly string[];
};

/** `challenge`: the value of `WWW-Authenticate`, with 401. */
export type Denial = { readonly status: 401 | 403; readonly reason: string; readonly challenge?: readonly string[] };

/** Paths without a token, for health and readiness probes. */
const OPEN: readonly string[] = ["/health", "/ready"];

/** The reason to reject a request to the admin interface; null: allowed. */
export function checkAccess(request: IncomingMessage, path: string, access: Access, address: Address): Denial | null {
  if (access.token !== null) return OPEN.includes(path) ? null : checkToken(request, access.token);
  return checkHost(request, access, address) ?? checkOrigin(request);
}

/** Checks `Host`: a page whose own name resolves to this machine (DNS rebinding) still sends that name. */
export function checkHost({ headers }: IncomingMessage, { hosts }: Access, address: Address): Denial | null {
  // Browsers always send a Host; health checks of HAProxy, by HTTP/1.0, do not.
  if (address.path !== "" || headers.host === undefined) return null;
  const name = nameOf(headers.host);
  if (isIP(name) !== 0 || name === "localhost" || name === address.host || name === hostname().toLowerCase())
    return null;
  if (hosts.some((host) => (host.startsWith("*.") ? name.endsWith(host.slice(1)) : host === name))) return null;
  const add = name === "" ? "" : `: add it to admin.hosts, as in admin: { hosts: [${name}] }`;
  return { status: 403, reason: `the host ${name || "(none)"} is not one of this interface's${add}` };
}

function checkOrigin({ method, headers }: IncomingMessage): Denial | null {
  if (isRead(method)) return null;
  const { origin, host, "content-type": type } = headers;
  if (origin !== undefined && origin !== `http://${host}`)
    return { status: 403, reason: `a request from ${origin} may not change anything` };
  if (type !== undefined && !/^application\/json\s*(;|$)/i.test(type))
    return { status: 403, reason: `content type ${type}, expected application/json` };
  return null;
}

function checkToken({ method, headers }: IncomingMessage, token: string): Denial | null {
  const [, scheme = "", sent = ""] = /^(\w+) +(\S+)$/.exec(headers.authorization ?? "") ?? [];
  if (/^bearer$/i.test(scheme) && isEqual(sent, token)) return null;
  // Browsers send stored credentials with requests of other pages too: Basic authentication must not allow changes.
  const password = /^basic$/i.test(scheme) ? /:(.*)$/s.exec(Buffer.from(sent, "base64").toString("utf8")) : null;
  const isPassword = password !== null && isEqual(password[1]!, token);
  if (isPassword && isRead(method)) return null;
  if (isPassword) return { status: 403, reason: "a password only reads, expected Authorization: Bearer TOKEN" };
  const isBrowser = /\btext\/html\b/.test(headers.accept ?? "");
  return {
    status: 401,
    reason: `${headers.authorization === undefined ? "a token is needed" : "wrong token"}, expected Authorization: Bearer TOKEN with the configuration's admin.token`,
    challenge: ['Bearer realm="sluice"', ...(isBrowser ? ['Basic realm="sluice (the token as password)"'] : [])],
  };
}

/** Compares in constant time. */
function isEqual(sent: string, token: string): boolean {
  const hash = (text: string) => createHash("sha256").update(text).digest();
  return timingSafeEqual(hash(sent), hash(token));
}

function isRead(method: string | undefined): boolean {
  return method === "GET" || method === "HEAD";
}

/** The host of `Host`, without port and brackets. */
function nameOf(host: string): string {
  const match = /^(?:\[([^\]]*)\]|([^:]*))(?::\d+)?$/.exec(host.toLowerCase());
  return match?.[1] ?? match?.[2] ?? "";
}
