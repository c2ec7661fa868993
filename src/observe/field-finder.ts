/** Finds the value of a header for the access log: `start` and `end` in the head's bytes. */
import { equalsWord, skipBlanks, trimBlanks } from "../http/bytes.ts";
import { FIELD_WORDS, type Head, NAME_END, NAME_START } from "../http/head.ts";

const CR = 0x0d;
const LF = 0x0a;

export class FieldFinder {
  start = 0;
  end = 0;

  /** Finds the first header of that name (in lower case) with its current value. */
  find(head: Head, name: Buffer): boolean {
    const index = head.find(name, 0, name.length);
    if (index < 0) return false;
    this.start = head.valueStart(index);
    this.end = head.valueEnd(index);
    return true;
  }

  /** Finds the first header of that name with its received value: an edit moves the value, but not the name. */
  findReceived({ bytes, fields, count, received: end }: Head, name: Buffer): boolean {
    for (let i = 0, at = 0; i < count; i++, at += FIELD_WORDS) {
      const nameEnd = fields[at + NAME_END]!;
      if (nameEnd >= end || !equalsWord(bytes, fields[at + NAME_START]!, nameEnd, name)) continue;
      const start = skipBlanks(bytes, nameEnd + 1, end);
      let stop = start;
      while (stop < end && bytes[stop] !== CR && bytes[stop] !== LF) stop++;
      this.start = start;
      this.end = trimBlanks(bytes, start, stop);
      return true;
    }
    return false;
  }
}
