/**
 * What traces do not show: values of headers, query parameters, form fields and JSON members whose name says that
 * they are secrets, or that the configuration names; credentials of URLs and of HTTP authentication; and what has the
 * form of a well-known kind of token. Both sides of an edit are masked alike, so only that they differ is seen.
 * All of it takes a time that grows with the text's length alone: clients write these texts.
 */
import { maskJson } from "./mask-json.ts";

export const MASKED = "***";

/** Parts of names that say so wherever they stand: `access_token`, `JSESSIONID`, `dbPassword`. */
const PART =
  /cookie|authori[sz]ation|token|secret|passw|passphrase|passcode|passkey|pwd|credential|session|sessid|signature|assertion|api[-_.]?key|access[-_.]?key|private[-_.]?key|hmac|dpop|oauth|saml|jwt|csrf|xsrf|bearer|verifier|webhook[-_.]?url/i;
/** Words of names: what stands between other characters than letters and digits, or begins with a capital. */
const WORDS = new Set(
  "auth authn authz key keys pass pw pin otp totp mfa sig sas sk sid jws jwe wsse cred creds seed mnemonic ticket pat psk nonce".split(
    " ",
  ),
);
/** What ends a word that is written without a break: `dbpass`, `sshkey`. */
const ENDING =
  /(?:^|[^a-z])(?:db|my|user|root|admin|ftp|smtp|mail|redis|mysql|ldap)pass$|(?:ssh|pgp|gpg|aes|rsa|sign|crypt|auth)key$/i;
/** Names that mean something else within another name, as `x-status-code` does. */
const WHOLE = /^(?:code|state)$/i;

/** `name=value`, in a query, a form, a cookie or the parameters of a header. A value may be quoted. */
const PAIR = /(?<![^=&#;,\s?"'{(])([^=&#;,\s?"'{(]+)=("[^"]*"?|[^&#;,\s]*)/g;
/** `name: value`, as in a header that another text shows. */
const LINE = /(?<![\w.-])([A-Za-z][\w.-]*)[ \t]*:[ \t]+("[^"]*"?|[^\s,;]+(?:[ \t]+[^\s,;]+)?)/g;
/** Credentials behind the name of their scheme (RFC 9110 section 11.4); plain words are none. */
const SCHEME =
  /(?<![\w.-])((?i:basic|bearer|dpop|negotiate|ntlm|hawk|digest|apikey|token))([ \t]+)(?=[^\s,;"']*[0-9A-Z=+/_~])[^\s,;"']{6,}/g;
const USERINFO = /(:\/\/)[^/?#\s]+@/g;
/** What has the form of a token that is known by it: JWTs, keys of cloud, code and payment services, private keys. */
const FORMS =
  /(?<![A-Za-z0-9_])(?:eyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){0,4}|(?:AKIA|ASIA)[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|xox[abeoprs]-[\w-]{10,}|[rs]k_(?:live|test)_\w{8,}|whsec_\w{16,}|sk-[\w-]{20,}|AIza[\w-]{35}|ya29\.[\w-]{20,}|npm_[A-Za-z0-9]{30,}|hf_[A-Za-z0-9]{30,}|SG\.[\w-]{16,}\.[\w-]{16,})|-----BEGIN [A-Z ]*PRIVATE KEY-----.*/g;

/** How deep values are looked into that hold others: URLs in parameters of URLs. */
const DEEPEST = 3;

export class Mask {
  readonly #names: ReadonlySet<string>;

  /** `names`: further ones, in any case. */
  constructor(names: readonly string[]) {
    this.#names = new Set(names.map((name) => name.toLowerCase()));
  }

  hides(name: string): boolean {
    return WHOLE.test(name) || this.#says(name);
  }

  #says(name: string): boolean {
    return PART.test(name) || ENDING.test(name) || this.#names.has(name.toLowerCase()) || hasWord(name);
  }

  /** The value of a header or part as it may be shown. */
  value(name: string, value: string): string {
    return this.hides(name) ? MASKED : this.text(value);
  }

  /** A text that may hold a query, as `Location` and `Referer` do, parameters, JSON, or credentials. */
  text(text: string): string {
    return this.#text(text, 0);
  }

  query(query: string): string {
    return this.#pairs(query, 0);
  }

  #text(text: string, depth: number): string {
    const open = text.replace(USERINFO, `$1${MASKED}@`).replace(SCHEME, `$1$2${MASKED}`).replace(FORMS, MASKED);
    const json = open.includes("{")
      ? maskJson(open, {
          hides: (name) => this.hides(name),
          text: (part) => (depth < DEEPEST ? this.#text(part, depth + 1) : part),
        })
      : open;
    const lines = json.replace(LINE, (all: string, name: string, value: string) =>
      this.#says(name) ? `${all.slice(0, -value.length)}${MASKED}` : all,
    );
    return this.#pairs(lines, depth);
  }

  #pairs(text: string, depth: number): string {
    return text.replace(PAIR, (pair, name: string, value: string) => {
      if (this.hides(decode(name))) return `${name}=${MASKED}`;
      if (!value.includes("%") || depth >= DEEPEST) return pair;
      const plain = decode(value);
      return plain === value || this.#text(plain, depth + 1) === plain ? pair : `${name}=${MASKED}`;
    });
  }
}

function hasWord(name: string): boolean {
  for (const [word] of name.matchAll(/[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+/g))
    if (WORDS.has(word.toLowerCase())) return true;
  return false;
}

function decode(text: string): string {
  return text.replace(/%([0-9A-Fa-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
}
