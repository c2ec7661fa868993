/** The static table of HPACK (RFC 7541 appendix A). Entries are numbered from 1. */
import { nameId } from "../http/fields.ts";

const ENTRIES = `:authority|:method GET|:method POST|:path /|:path /index.html|:scheme http|:scheme https|:status 200|
:status 204|:status 206|:status 304|:status 400|:status 404|:status 500|accept-charset|accept-encoding gzip, deflate|
accept-language|accept-ranges|accept|access-control-allow-origin|age|allow|authorization|cache-control|
content-disposition|content-encoding|content-language|content-length|content-location|content-range|content-type|cookie|
date|etag|expect|expires|from|host|if-match|if-modified-since|if-none-match|if-range|if-unmodified-since|last-modified|
link|location|max-forwards|proxy-authenticate|proxy-authorization|range|referer|refresh|retry-after|server|set-cookie|
strict-transport-security|transfer-encoding|user-agent|vary|via|www-authenticate`
  .replaceAll("\n", "")
  .split("|")
  .map((entry) => /^([^ ]+) ?(.*)$/.exec(entry)!.slice(1) as [name: string, value: string]);

export const STATIC_ENTRIES = ENTRIES.length;

/** `name: value\r\n` of each entry, as an area of a head has it. */
export const STATIC_BYTES = Buffer.from(ENTRIES.map(([name, value]) => `${name}: ${value}\r\n`).join(""), "latin1");

/** Where entry `i`'s name begins and ends and its value ends in STATIC_BYTES, and the NAME of its name: 4 words at 4 × i. */
export const STATIC = new Uint32Array(4 * (STATIC_ENTRIES + 1));

let end = 0;
for (const [index, [name, value]] of ENTRIES.entries()) {
  const id = nameId(STATIC_BYTES, end, end + name.length);
  STATIC.set([end, end + name.length, end + name.length + 2 + value.length, id], 4 * (index + 1));
  end += name.length + value.length + 4;
}

/** The first entry of that name, or 0. */
export function staticIndexOf(name: string): number {
  return 1 + ENTRIES.findIndex(([known]) => known === name);
}
