// A key made of parts of a request, as the configuration lists them: client-address, method, path, host, route,
// header:NAME, cookie:NAME, query:NAME.

import { Config, Cookies, Headers, Query, Request } from "sluice/sdk";

const ATTRIBUTES: string[] = ["client-address", "method", "path", "host", "route"];
const NAMED: string[] = ["header", "cookie", "query"];

/** One part of a key. */
export class KeyPart {
  constructor(
    /** The attribute, or `header`, `cookie` or `query`. */
    readonly kind: string,
    /** Of the header, cookie or parameter. */
    readonly name: string,
  ) {}

  /** Whether the client's address is the part. */
  get isAddress(): bool {
    return this.kind == "client-address";
  }

  /** The value in the request; null if a header, cookie or parameter is missing. */
  valueIn(req: Request): string | null {
    const kind = this.kind;
    if (kind == "header") return req.headers.get(this.name);
    if (kind == "cookie") return Cookies.get(req.headers, this.name);
    if (kind == "query") return new Query(req.query).get(this.name);
    if (kind == "client-address") return req.clientAddress;
    if (kind == "method") return req.method;
    if (kind == "path") return req.path;
    if (kind == "host") return req.host.toLowerCase();
    return req.route;
  }
}

/** Reads `key` of the configuration: one part, or a list; by default the client's address. */
export function readKey(): KeyPart[] {
  const texts = Config.has("key") ? Config.list("key") : ["client-address"];
  if (!texts.length) Config.refuse("key", "at least one part");
  const parts: KeyPart[] = [];
  for (let i = 0; i < texts.length; i++) parts.push(readPart(texts[i]));
  return parts;
}

function readPart(text: string): KeyPart {
  const colon = text.indexOf(":");
  if (colon < 0 && ATTRIBUTES.includes(text)) return new KeyPart(text, "");
  const kind = text.substring(0, max(colon, 0));
  const name = text.substring(colon + 1);
  if (!NAMED.includes(kind) || !(kind == "query" ? name.length > 0 : Headers.isToken(name)))
    throw new Error(`config key: expected client-address, header:NAME, cookie:NAME, query:NAME, method, path, host or route, found "${text}"`);
  return new KeyPart(kind, name);
}
