import { LEVEL } from "./abi";
import { VALUE, encode } from "./bytes";
import { log_write } from "./imports";

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
