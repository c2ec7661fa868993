/** Formats access log lines without intermediate strings: JSON with configured fields, and the combined format. */
import type { Head } from "../http/head.ts";
import { type CompiledFields, FieldOutput, MOST } from "./access-fields.ts";
import type { AccessRecord } from "./access-record.ts";

/** Most bytes of a combined line: an escaped byte takes four, `\xFF`. */
export const COMBINED_ROOM = 4 * (2 * MOST.header + MOST.path + MOST.host) + 1024;

const AUTHORIZATION = Buffer.from("authorization");
const REFERER = Buffer.from("referer");
const USER_AGENT = Buffer.from("user-agent");
const BASIC = /^basic +([A-Za-z0-9+/=]+)$/i;

const CR = 0x0d;
const LF = 0x0a;
const SPACE = 0x20;

export class AccessFormat extends FieldOutput {
  json(x: AccessRecord, { fields, keys }: CompiledFields, now: number): void {
    const { text } = this;
    if (fields.length === 0) text.ascii("{");
    for (let i = 0; i < fields.length; i++) {
      const { prefix, write, name } = fields[i]!;
      text.ascii(prefix);
      write(this, x, now, name);
    }
    if (x.logFields !== null) this.#added(x.logFields, keys, fields.length === 0);
    text.ascii("}\n");
  }

  /** Fields of plugins, except those with a configured key. */
  #added(added: ReadonlyMap<string, string>, keys: ReadonlySet<string>, isEmpty: boolean): void {
    const { text } = this;
    let isFirst = isEmpty;
    for (const [name, value] of added) {
      if (keys.has(name)) continue;
      text.ascii(isFirst ? '"' : ',"');
      isFirst = false;
      text.ascii(name);
      text.ascii('":');
      text.string(value);
    }
  }

  /** The combined format of nginx and Apache. */
  combined(x: AccessRecord, now: number): void {
    const { text } = this;
    const { request } = x;
    text.ascii(x.clientAddress);
    text.ascii(" - ");
    this.#user(x);
    text.ascii(" [");
    text.commonTime(this.wall + now);
    text.ascii('] "');
    this.#requestLine(request);
    text.ascii('" ');
    text.number(x.response.status);
    text.ascii(" ");
    text.number(x.bytesSent);
    this.#quoted(request, this.found.findReceived(x.request, REFERER));
    this.#quoted(request, this.found.findReceived(x.request, USER_AGENT));
    text.ascii("\n");
  }

  /** The user name of `Authorization: Basic`, possibly unverified. */
  #user(x: AccessRecord): void {
    const isFound =
      this.found.findReceived(x.request, AUTHORIZATION) && this.found.end - this.found.start <= MOST.header;
    const found = isFound ? BASIC.exec(x.request.text(this.found.start, this.found.end)) : null;
    const user = found === null ? Buffer.alloc(0) : Buffer.from(found[1]!, "base64");
    const colon = user.indexOf(":");
    if (colon <= 0) return this.text.ascii("-");
    // Not quoted: a space would let a client inject fields.
    this.text.escaped(user, 0, Math.min(colon, MOST.host), SPACE + 1);
  }

  /** The request line as received. */
  #requestLine({ bytes, end }: Head): void {
    const most = Math.min(end, MOST.path + MOST.method);
    let stop = 0;
    while (stop < most && bytes[stop] !== CR && bytes[stop] !== LF) stop++;
    if (stop === 0) this.text.ascii("-");
    else this.text.escaped(bytes, 0, stop);
  }

  #quoted({ bytes }: Head, isFound: boolean): void {
    this.text.ascii(' "');
    if (isFound) this.text.escaped(bytes, this.found.start, Math.min(this.found.end, this.found.start + MOST.header));
    else this.text.ascii("-");
    this.text.ascii('"');
  }
}
