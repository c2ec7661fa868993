/**
 * Masks secrets in traces: values of headers, query parameters, form fields and JSON members whose names indicate
 * secrets or are configured; credentials in URLs and of HTTP authentication; well-known forms of tokens. Both values of
 * an edit are masked alike, so a reader sees only that they differ.
 * Runs in linear time: clients choose these texts.
 */
import { maskJson } from "./mask-json.ts";

export const MASKED = "***";

/** Parts of names that indicate a secret anywhere in the name: `access_token`, `JSESSIONID`, `dbPassword`. */
const PART =
  /cookie|authori[sz]ation|token|secret|passw|passphrase|passcode|passkey|pwd|credential|session|sessid|signature|assertion|api[-_.]?key|access[-_.]?key|private[-_.]?key|hmac|dpop|oauth|saml|jwt|csrf|xsrf|bearer|verifier|webhook[-_.]?url/i;
/** Whole words of names, separated by punctuation or capital letters. */
const WORDS = new Set(
  "auth authn authz key keys pass pw pin otp totp mfa sig sas sk sid jws jwe wsse cred creds seed mnemonic ticket pat psk nonce".split(
    " ",
  ),
);
/** Endings of compound words: `dbpass`, `sshkey`. */
const ENDING =
  /(?:^|[^a-z])(?:db|my|user|root|admin|ftp|smtp|mail|redis|mysql|ldap)pass$|(?:ssh|pgp|gpg|aes|rsa|sign|crypt|auth)key$/i;
/** Names that are secret only on their own, unlike `x-status-code`. */
const WHOLE = /^(?:code|state)$/i;

/** `name=value`, in a query, a form, a cookie or the parameters of a header. A value may be quoted. */
const PAIR = /(?<![^=&#;,\s?"'{(])([^=&#;,\s?"'{(]+)=("[^"]*"?|[^&#;,\s]*)/g;
/** `name: value`, a header quoted in a text. */
const LINE = /(?<![\w.-])([A-Za-z][\w.-]*)[ \t]*:[ \t]+("[^"]*"?|[^\s,;]+(?:[ \t]+[^\s,;]+)?)/g;
/** Credentials after the name of their scheme (RFC 9110 section 11.4), but not plain words. */
const SCHEME =
  /(?<![\w.-])((?i:basic|bearer|dpop|negotiate|ntlm|hawk|digest|apikey|token))([ \t]+)(?=[^\s,;"']*[0-9A-Z=+/_~])[^\s,;"']{6,}/g;
const USERINFO = /(:\/\/)[^/?#\s]+@/g;
/** Well-known forms of tokens: JWTs, keys of cloud, code and payment services, private keys. */
const FORMS =
  /(?<![A-Za-z0-9_])(?:eyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){0,4}|(?:AKIA|ASIA)[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|xox[abeoprs]-[\w-]{10,}|[rs]k_(?:live|test)_\w{8,}|whsec_\w{16,}|sk-[\w-]{20,}|AIza[\w-]{35}|ya29\.[\w-]{20,}|npm_[A-Za-z0-9]{30,}|hf_[A-Za-z0-9]{30,}|SG\.[\w-]{16,}\.[\w-]{16,})|-----BEGIN [A-Z ]*PRIVATE KEY-----.*/g;

/** Depth limit of nested values: URLs in parameters of URLs. */
const DEEPEST = 3;

export class Mask {
  readonly #names: ReadonlySet<string>;

  /** `names`: further secret names, in any case. */
  constructor(names: readonly string[]) {
    this.#names = new Set(names.map((name) => name.toLowerCase()));
  }

  hides(name: string): boolean {
    return WHOLE.test(name) || this.#hasSecretName(name);
  }

  #hasSecretName(name: string): boolean {
    return PART.test(name) || ENDING.test(name) || this.#names.has(name.toLowerCase()) || hasWord(name);
  }

  /** Masks the value of a header or another named part. */
  value(name: string, value: string): string {
    return this.hides(name) ? MASKED : this.text(value);
  }

  /** Masks a text that may contain a query, as `Location` and `Referer` do, parameters, JSON or credentials. */
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
      this.#hasSecretName(name) ? `${all.slice(0, -value.length)}${MASKED}` : all,
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
