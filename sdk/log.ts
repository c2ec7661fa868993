import { LEVEL, STATUS } from "./abi";
import { KEY, KEY_CAP, VALUE, encode } from "./bytes";
import { log_field, log_write } from "./imports";
import { check } from "./status";

/** Longer lines are truncated before the first character that does not fit. */
const LINE_CAP: i32 = 4096;

/** Writes to the program's log, with the plugin's name: at most eight lines per hook call and 100 per second and worker. */
export namespace log {
  /** Details for debugging. */
  export function debug(text: string): void {
    write(LEVEL.debug, text);
  }

  /** Normal events. */
  export function info(text: string): void {
    write(LEVEL.info, text);
  }

  /** May need attention. */
  export function warn(text: string): void {
    write(LEVEL.warn, text);
  }

  /** Errors. */
  export function error(text: string): void {
    write(LEVEL.error, text);
  }
}

function write(level: i32, text: string): void {
  const line = text.length * 3 > LINE_CAP ? text.substring(0, LINE_CAP / 3) : text;
  log_write(level, VALUE, encode(line, VALUE, LINE_CAP));
}

/** Longer values are truncated. */
const FIELD_CAP: i32 = 1000;

/** The access log entry of a request (`req.log`). */
// @ts-ignore: decorator
@final
export class RequestLog {
  /**
   * Sets a field of the entry. A name has at most 60 letters, digits, `_`, `.` and `-`, starts with a letter, and is none
   * of the log's own fields; otherwise it throws. At most 20 fields per request over all plugins: further ones are dropped
   * and counted. Values are truncated to 1,000 bytes of UTF-8.
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
