/** Reads and writes DER (X.690) as far as OCSP, ACME and certificates need it: definite lengths, tags of one byte. */

export const TAG = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  oid: 0x06,
  enumerated: 0x0a,
  null: 0x05,
  utf8String: 0x0c,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
} as const;

export type DerElement = {
  readonly tag: number;
  readonly content: Buffer;
  /** Tag, length and content. */
  readonly whole: Buffer;
};

/** Reads the elements of one content in order. Every method throws an Error on malformed bytes. */
export class DerReader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get isDone(): boolean {
    return this.#at === this.#bytes.length;
  }

  next(): DerElement {
    const bytes = this.#bytes;
    const start = this.#at;
    const tag = bytes[start];
    if (tag === undefined || (tag & 0x1f) === 0x1f) throw malformed();
    const first = bytes[start + 1] ?? 0x80;
    const width = first < 0x80 ? 0 : first - 0x80;
    const body = start + 2 + width;
    // Indefinite lengths (width 0) and lengths that need fewer bytes are not DER.
    if (first === 0x80 || width > 4 || body > bytes.length) throw malformed();
    const length = width === 0 ? first : bytes.readUIntBE(start + 2, width);
    if (width > 0 && (length < 0x80 || bytes[start + 2] === 0)) throw malformed();
    if (body + length > bytes.length) throw malformed();
    this.#at = body + length;
    return { tag, content: bytes.subarray(body, this.#at), whole: bytes.subarray(start, this.#at) };
  }

  /** The content of the next element, which must have this tag. */
  read(tag: number): Buffer {
    const element = this.next();
    if (element.tag !== tag) throw malformed();
    return element.content;
  }

  /** The same, or null if the next element has another tag or there is none. */
  readOptional(tag: number): Buffer | null {
    return this.#bytes[this.#at] === tag ? this.read(tag) : null;
  }

  enter(tag: number = TAG.sequence): DerReader {
    return new DerReader(this.read(tag));
  }

  /** An object identifier in hexadecimal, as of `oid`. */
  readOid(): string {
    return this.read(TAG.oid).toString("hex");
  }

  /** The bytes of a bit string whose length is a multiple of eight. */
  readBits(): Buffer {
    const content = this.read(TAG.bitString);
    if (content[0] !== 0) throw malformed();
    return content.subarray(1);
  }

  /** Wall-clock ms of a GeneralizedTime in the form of RFC 5280 section 4.1.2.5.2. */
  readTime(): number {
    const text = this.read(TAG.generalizedTime).toString("latin1");
    const [, date, time] = /^(\d{8})(\d{6})Z$/.exec(text) ?? [];
    if (date === undefined || time === undefined) throw malformed();
    const [day, clock] = [date.replace(/^(....)(..)/, "$1-$2-"), time.replace(/^(..)(..)/, "$1:$2:")];
    const found = Date.parse(`${day}T${clock}Z`);
    if (Number.isNaN(found)) throw malformed();
    return found;
  }

  /** The end of this content. */
  end(): void {
    if (!this.isDone) throw malformed();
  }
}

function malformed(): Error {
  return new Error("malformed DER");
}

/** An element with these parts, less than 16 MiB, as its content. */
export function der(tag: number, ...parts: readonly Buffer[]): Buffer {
  const content = Buffer.concat(parts);
  const { length } = content;
  if (length < 0x80) return Buffer.concat([Buffer.from([tag, length]), content]);
  const width = length < 0x100 ? 1 : length < 0x10000 ? 2 : 3;
  const head = Buffer.alloc(2 + width);
  head[0] = tag;
  head[1] = 0x80 + width;
  head.writeUIntBE(length, 2, width);
  return Buffer.concat([head, content]);
}

/** An object identifier as an element. */
export function derOid(dotted: string): Buffer {
  return der(TAG.oid, Buffer.from(oid(dotted), "hex"));
}

/** A bit string of whole bytes. */
export function derBits(bytes: Buffer): Buffer {
  return der(TAG.bitString, Buffer.from([0]), bytes);
}

/** A GeneralizedTime, for wall-clock ms. */
export function derTime(time: number): Buffer {
  const text = new Date(time).toISOString().replace(/[-:T]|\.\d+/g, "");
  return der(TAG.generalizedTime, Buffer.from(text, "latin1"));
}

/** The content of an object identifier in hexadecimal. */
export function oid(dotted: string): string {
  const [first = 0, second = 0, ...rest] = dotted.split(".").map(Number);
  const bytes = [40 * first + second, ...rest].flatMap((number) => {
    const digits = [number & 0x7f];
    for (let left = number >>> 7; left > 0; left >>>= 7) digits.unshift(0x80 | (left & 0x7f));
    return digits;
  });
  return Buffer.from(bytes).toString("hex");
}
