/** Compares the cookies of a request, read as the SDK's `Cookies` reads them (RFC 6265 section 5.4). */
import { EQUALS, SEMICOLON, skipBlanks, startsWith, trimBlanks } from "../http/bytes.ts";
import { type Head, NAME } from "../http/head.ts";
import { matchesValue, type NamedTest } from "./values.ts";

/** Whether the first cookie of that name has such a value. */
export function hasCookie(test: NamedTest, head: Head): boolean {
  const { bytes } = head;
  for (let i = head.findKnown(NAME.cookie); i >= 0; i = head.findKnown(NAME.cookie, i + 1)) {
    const end = head.valueEnd(i);
    for (let at = head.valueStart(i); at < end; ) {
      let stop = bytes.indexOf(SEMICOLON, at);
      if (stop < 0 || stop > end) stop = end;
      const start = skipBlanks(bytes, at, stop);
      at = stop + 1;
      if (!startsWith(bytes, start, stop, test.name)) continue;
      const sign = skipBlanks(bytes, start + test.name.length, stop);
      if (sign === stop || bytes[sign] !== EQUALS) continue;
      stop = trimBlanks(bytes, sign + 1, stop);
      return matchesValue(test, bytes, skipBlanks(bytes, sign + 1, stop), stop);
    }
  }
  return test.absent;
}
