import { LEVEL, STATUS } from "./abi";
import { KEY, KEY_CAP, VALUE, encode } from "./bytes";
import { log_field, log_write } from "./imports";
import { check } from "./status";

/** Longer lines are cut here, before a character that would not fit. */
const LINE_CAP: i32 = 4096;

/** Lines in the program's own log, marked with the plugin's name; at most eight a hook call. */
export namespace log {
  /** For the author. */
  export function debug(text: string): void {
    write(LEVEL.debug, text);
  }

  /** For the operator: what happened. */
  export function info(text: string): void {
    write(LEVEL.info, text);
  }

  /** For the operator: what may need attention. */
  export function warn(text: string): void {
    write(LEVEL.warn, text);
  }

  /** For the operator: what is broken. */
  export function error(text: string): void {
    write(LEVEL.error, text);
  }
}

function write(level: i32, text: string): void {
  const line = text.length * 3 > LINE_CAP ? text.substring(0, LINE_CAP / 3) : text;
  log_write(level, VALUE, encode(line, VALUE, LINE_CAP));
}

/** Longer values are cut here. */
const FIELD_CAP: i32 = 1000;

/** The request's line in the access log. */
// @ts-ignore: decorator
@final
export class RequestLog {
  /**
   * Adds a field to the request's line. A name is letters, digits, `_`, `.` and `-`, a letter first, 60 at most, and none of
   * the log's own fields. Twenty fields are kept for a request, over all plugins; further ones are dropped, and counted.
   * A value is cut at 1,000 bytes of UTF-8.
   */
  set(name: string, value: string): void {
    const text = value.length * 3 > FIELD_CAP ? value.substring(0, FIELD_CAP / 3) : value;
    const length = encode(text, VALUE, FIELD_CAP);
    const status = log_field(KEY, encode(name, KEY, KEY_CAP), VALUE, length);
    if (status != STATUS.tooLarge) check(status, "cannot log field", name);
  }
}

// @ts-ignore: decorator
@lazy export const requestLog = new RequestLog();
