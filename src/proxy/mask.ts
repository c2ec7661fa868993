/**
 * What a trace shows nobody: values of fields and of query parameters whose name says that they are secrets, or that the
 * configuration names. Both sides of an edit are masked alike, so nothing can be told from them but that they differ.
 */

export const MASKED = "***";

/** By the words that a name is made of: `authorization`, `x-api-key`, `access_token`, `JSESSIONID` … */
const SECRET =
  /cookie|authori[sz]ation|token|secret|passw(or)?d|passphrase|credential|session|signature|assertion|api[-_.]?key|(^|[-_.])(auth|key|jwt|sig)($|[-_.])|^(code|state|otp|pin|sid)$/i;

export class Mask {
  readonly #names: ReadonlySet<string>;

  /** `names`: further ones, in any case. */
  constructor(names: readonly string[]) {
    this.#names = new Set(names.map((name) => name.toLowerCase()));
  }

  hides(name: string): boolean {
    return SECRET.test(name) || this.#names.has(name.toLowerCase());
  }

  /** The value of a field or part as it may be shown. */
  value(name: string, value: string): string {
    return this.hides(name) ? MASKED : this.text(value);
  }

  /** A text that may hold a query, as `Location` and `Referer` do; user and password of a URL are masked as well. */
  text(text: string): string {
    const masked = text.replace(/(:\/\/)[^/?#@\s]+@/g, `$1${MASKED}@`);
    const at = masked.indexOf("?");
    return at < 0 ? masked : masked.slice(0, at + 1) + this.query(masked.slice(at + 1));
  }

  query(query: string): string {
    return query.replace(/(?<![^=&#;\s?])([^=&#;\s?]+)=([^&#;\s]*)/g, (pair, name: string) =>
      this.hides(decode(name)) ? `${name}=${MASKED}` : pair,
    );
  }
}

function decode(text: string): string {
  return text.replace(/%([0-9A-Fa-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
}
