/** Normalises paths and targets of the configuration and of commands like those of requests. Cold. */
import { Head, PART } from "./head.ts";
import { normalizePath } from "./target.ts";

/** A request's target, with the origin if the text names one. */
export type ParsedTarget = {
  /** `http:` if the text has none. */
  readonly protocol: string;
  /** With the port; `localhost` if the text has none. */
  readonly host: string;
  /** The same without the port. */
  readonly hostname: string;
  readonly port: string;
  readonly target: string;
};

/** Whether a text is a request target, not a URL: `/a`, `//a`, `*`. */
export function isTargetText(text: string): boolean {
  return text.startsWith("/") || text === "*";
}

/** Parses a target or a URL. A target is unchanged and has no host. @throws TypeError */
export function parseTarget(text: string): ParsedTarget {
  const isTarget = isTargetText(text);
  const { protocol, host, hostname, port, pathname, search } = new URL(isTarget ? "/" : text, "http://localhost/");
  return { protocol, host, hostname, port, target: isTarget ? text : `${pathname}${search}` };
}

/** The normal form of a path, with all but printable ASCII encoded; null if no request can have it. */
export function normalizePathText(text: string): string | null {
  if (!text.startsWith("/") || /[?#]/.test(text)) return null;
  const bytes = Buffer.from(encodeText(text), "latin1");
  const head = new Head(3 * bytes.length, 1);
  head.setPart(PART.path, bytes, 0, bytes.length);
  return normalizePath(head) === 0 ? head.partText(PART.path) : null;
}

/** The same for a path with an optional query. */
export function normalizeTargetText(text: string): string | null {
  const mark = text.indexOf("?");
  const path = normalizePathText(mark < 0 ? text : text.slice(0, mark));
  if (mark < 0 || path === null) return path;
  const query = text.slice(mark);
  return query.includes("#") ? null : path + encodeText(query);
}

/** Normalises the escapes of a template; null if malformed. Dot segments remain: a value may have several segments. */
export function normalizeTemplateText(text: string): string | null {
  if (/%(?![0-9A-Fa-f]{2})/.test(text)) return null;
  return encodeText(text).replace(/%[0-9A-Fa-f]{2}/g, (triplet) => {
    const byte = String.fromCharCode(Number.parseInt(triplet.slice(1), 16));
    return /[A-Za-z0-9._~-]/.test(byte) ? byte : triplet.toUpperCase();
  });
}

function encodeText(text: string): string {
  return text.replace(/[^\x21-\x7e]+/gu, (other) => encodeURIComponent(other.toWellFormed()));
}
