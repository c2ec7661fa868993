/** The configuration for Extism plugins: texts by key. Other values are serialised as JSON, once. */

type Known = { readonly key: Buffer; readonly value: Buffer | null };

/** Most cached keys of a guest; filters read a few. */
const REMEMBERED = 16;

export class ConfigValues {
  #config: unknown = null;
  readonly #known: Known[] = [];

  /** The value of the key `bytes[start, end)`; null if there is none. */
  get(config: unknown, bytes: Buffer, start: number, end: number): Buffer | null {
    if (this.#config !== config) {
      this.#config = config;
      this.#known.length = 0;
    }
    // Comparing bytes takes a tenth of the time of decoding the key.
    for (let i = 0; i < this.#known.length; i++) {
      const { key, value } = this.#known[i]!;
      if (isKey(key, bytes, start, end)) return value;
    }
    const value = findValue(config, bytes.toString("utf8", start, end));
    if (this.#known.length < REMEMBERED) this.#known.push({ key: Buffer.from(bytes.subarray(start, end)), value });
    return value;
  }
}

function isKey(key: Buffer, bytes: Buffer, start: number, end: number): boolean {
  if (key.length !== end - start) return false;
  for (let i = 0; i < key.length; i++) if (key[i] !== bytes[start + i]) return false;
  return true;
}

function findValue(config: unknown, key: string): Buffer | null {
  if (typeof config !== "object" || config === null || !Object.hasOwn(config, key)) return null;
  return Buffer.from(textOf((config as Record<string, unknown>)[key]), "utf8");
}

function textOf(value: unknown): string {
  if (typeof value === "string") return value;
  return typeof value === "bigint" ? String(value) : jsonOf(value);
}

/** A value of the configuration as JSON; large whole numbers lose digits. */
export function jsonOf(value: unknown): string {
  return JSON.stringify(value, (_, one: unknown) => (typeof one === "bigint" ? Number(one) : one)) ?? "null";
}
