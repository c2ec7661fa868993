/** What nghttpd prints of its frames with `-v`. */

export type TracedField = { readonly name: string; readonly value: string; readonly isSensitive: boolean };

export type TracedFrame = {
  readonly connection: number;
  readonly isReceived: boolean;
  readonly type: string;
  /** Of the payload, with its padding. */
  readonly length: number;
  readonly flags: number;
  readonly stream: number;
  /** Of HEADERS. */
  readonly fields: TracedField[];
  /** Other lines below it: `[SETTINGS_…(0x03):100]`, `(window_size_increment=1)`. */
  readonly details: string[];
};

const LINE = /^\[id=(\d+)\] \[ *[\d.]+\] (recv|send) (.*)$/;
const FRAME = /^(\w+) frame <length=(\d+), flags=0x(\w+), stream_id=(\d+)>$/;
const FIELD = /^\(stream_id=\d+(, sensitive)?\) (:?[^:]*): (.*)$/;
const SENT_FIELD = /^(:?[^:;([]+): (.*)$/;

export class NghttpdTrace {
  readonly frames: TracedFrame[] = [];
  #rest = "";
  /** Fields are printed before the HEADERS that were received. */
  #fields: TracedField[] = [];

  readonly read = (text: string): void => {
    const lines = (this.#rest + text).split("\n");
    this.#rest = lines.pop()!;
    for (const line of lines) this.#readLine(line);
  };

  #readLine(line: string): void {
    const match = LINE.exec(line);
    if (match === null) return this.#readDetail(line);
    const [, connection, way, rest] = match as unknown as [string, string, string, string];
    const field = FIELD.exec(rest);
    if (field !== null) {
      this.#fields.push({ name: field[2]!, value: field[3]!, isSensitive: field[1] !== undefined });
      return;
    }
    const frame = FRAME.exec(rest);
    if (frame === null) return;
    const isReceived = way === "recv";
    this.frames.push({
      connection: Number(connection),
      isReceived,
      type: frame[1]!,
      length: Number(frame[2]),
      flags: Number.parseInt(frame[3]!, 16),
      stream: Number(frame[4]),
      fields: isReceived && frame[1] === "HEADERS" ? this.#fields.splice(0) : [],
      details: [],
    });
  }

  #readDetail(line: string): void {
    const frame = this.frames.at(-1);
    if (frame === undefined || !line.startsWith("          ")) return;
    const text = line.slice(10);
    const field = frame.isReceived ? null : SENT_FIELD.exec(text);
    if (field === null) frame.details.push(text);
    else frame.fields.push({ name: field[1]!, value: field[2]!, isSensitive: false });
  }
}

/** The number in the first detail that matches. */
export function detailOf({ details }: TracedFrame, pattern: RegExp): number {
  for (const text of details) {
    const match = pattern.exec(text);
    if (match !== null) return Number(match[1]);
  }
  return 0;
}
