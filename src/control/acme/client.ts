/**
 * An ACME client (RFC 8555) for one account at one server: signed requests with nonces, accounts, orders, and renewal
 * information (RFC 9773). What the server returns is bounded, and its URLs must be https.
 */
import type { KeyObject } from "node:crypto";
import { bindExternal, type ExternalAccount, signRequest } from "../../net/acme/jws.ts";
import { AcmeError, boundText, errorOf, parseObject } from "./problem.ts";
import { type AcmeResponse, readRetryAfter, send } from "./request.ts";

/** Attempts of a request whose nonce is rejected. The replacement comes with the rejection. */
const NONCE_ATTEMPTS = 5;
const MAX_URL = 2048;
/** A longer Retry-After is shortened, ms. */
const LONGEST_RETRY = 7 * 86_400_000;
/** A directory may change: it is read again after, ms. */
const DIRECTORY_AGE = 3_600_000;

type Json = Record<string, unknown>;
type Directory = {
  readonly newNonce: string;
  readonly newAccount: string;
  readonly newOrder: string;
  /** Null: the server has no renewal information. */
  readonly renewalInfo: string | null;
  /** URL of the terms of service; null: there are none. */
  readonly terms: string | null;
  readonly requiresExternal: boolean;
  readonly readAt: number;
};

/** What the clients of an account share. */
type Session = { account: string | null; nonce: string | null; directory: Directory | null };

export type ClientOptions = {
  /** URL of the directory. */
  readonly directory: string;
  readonly ca: readonly string[];
  readonly key: KeyObject;
  readonly signal: AbortSignal;
  /** URL of the account; null: it is not registered yet. */
  readonly account: string | null;
};

/** A reply with its object. `location`: of the created object; null without one. */
export type Reply = { readonly value: Json; readonly location: string | null; readonly retryAt: number | null };

export class AcmeClient {
  readonly #options: ClientOptions;
  readonly #session: Session;

  constructor(options: ClientOptions, session: Session = { account: options.account, nonce: null, directory: null }) {
    this.#options = options;
    this.#session = session;
  }

  /** The same client, whose requests end when `signal` is aborted, too. */
  until(signal: AbortSignal): AcmeClient {
    const either = AbortSignal.any([this.#options.signal, signal]);
    return new AcmeClient({ ...this.#options, signal: either }, this.#session);
  }

  get key(): KeyObject {
    return this.#options.key;
  }

  /**
   * Registers the account, bound to an external one, or finds that of the key. Returns its URL, and that of the terms
   * agreed to.
   */
  async register(
    contact: readonly string[],
    external: ExternalAccount | null,
  ): Promise<{ account: string; terms: string | null }> {
    const { newAccount, terms, requiresExternal } = await this.#read();
    if (requiresExternal && external === null)
      throw new AcmeError("rejected", "the server requires an account of its own: configure acme.externalAccount");
    this.#session.account = null;
    const binding = external && { externalAccountBinding: bindExternal(external, this.key, newAccount) };
    const { location } = await this.#post(newAccount, { termsOfServiceAgreed: true, contact, ...binding });
    if (location === null) throw new AcmeError("invalid_response", "the server did not return the account's URL");
    this.#session.account = location;
    return { account: location, terms };
  }

  /** Sets the contact of the registered account. */
  async updateContact(contact: readonly string[]): Promise<void> {
    await this.post(this.#session.account!, { contact });
  }

  async newOrder(names: readonly string[], replaces: string | null): Promise<Reply & { readonly location: string }> {
    const { newOrder, renewalInfo } = await this.#read();
    const identifiers = names.map((value) => ({ type: "dns", value }));
    const more = replaces !== null && renewalInfo !== null ? { replaces } : {};
    const reply = await this.#post(newOrder, { identifiers, ...more });
    if (reply.location === null) throw new AcmeError("invalid_response", "the server did not return the order's URL");
    return { ...reply, location: reply.location };
  }

  /** `payload` null: reads the object (POST-as-GET). */
  async post(url: string, payload: unknown): Promise<Reply> {
    return this.#post(readUrl(url, "url"), payload);
  }

  /** A certificate chain in PEM. */
  async download(url: string): Promise<string> {
    return (await this.#signed(readUrl(url, "certificate"), null)).body;
  }

  /** The suggested time of renewal (RFC 9773), wall-clock ms; null: the server has none. */
  async renewalInfo(id: string): Promise<{ start: number; end: number; retryAt: number | null } | null> {
    const { renewalInfo } = await this.#read();
    if (renewalInfo === null) return null;
    const response = await this.#send("GET", `${renewalInfo.replace(/\/$/, "")}/${id}`);
    if (response.status !== 200) throw errorOf(response, this.#retryAt(response));
    const window = parseObject(response.body)?.suggestedWindow as Json | undefined;
    const [start, end] = [Date.parse(String(window?.start)), Date.parse(String(window?.end))];
    if (!(start < end)) throw new AcmeError("invalid_response", "the suggested renewal window is invalid");
    return { start, end, retryAt: this.#retryAt(response) };
  }

  async #read(): Promise<Directory> {
    const now = Date.now();
    if (this.#session.directory !== null && now - this.#session.directory.readAt < DIRECTORY_AGE)
      return this.#session.directory;
    const response = await this.#send("GET", this.#options.directory);
    if (response.status !== 200) throw errorOf(response, this.#retryAt(response));
    const value = objectOf(response);
    const url = (name: string) => readUrl(value[name], `directory: ${name}`);
    const meta = value.meta as Json | undefined;
    const terms = meta?.termsOfService;
    this.#session.directory = {
      newNonce: url("newNonce"),
      newAccount: url("newAccount"),
      newOrder: url("newOrder"),
      renewalInfo: value.renewalInfo === undefined ? null : url("renewalInfo"),
      terms: typeof terms === "string" ? boundText(terms) : null,
      requiresExternal: meta?.externalAccountRequired === true,
      readAt: now,
    };
    return this.#session.directory;
  }

  async #post(url: string, payload: unknown): Promise<Reply> {
    const response = await this.#signed(url, payload);
    const { location } = response.headers;
    return {
      value: response.body === "" ? {} : objectOf(response),
      location: location === undefined ? null : readUrl(new URL(location, url).href, "location"),
      retryAt: this.#retryAt(response),
    };
  }

  /** A request with a nonce; one that is rejected for its nonce is sent again with the next. */
  async #signed(url: string, payload: unknown): Promise<AcmeResponse> {
    for (let attempt = 1; ; attempt++) {
      const nonce = this.#session.nonce ?? (await this.#newNonce());
      this.#session.nonce = null;
      const { key } = this.#options;
      const body = signRequest(payload, { key, url, nonce, account: this.#session.account });
      const response = await this.#send("POST", url, body);
      if (response.status >= 200 && response.status < 300) return response;
      const error = errorOf(response, this.#retryAt(response));
      if (error.type !== "badNonce" || attempt === NONCE_ATTEMPTS) throw error;
    }
  }

  async #newNonce(): Promise<string> {
    const { newNonce } = await this.#read();
    // Reading the directory may have returned one.
    if (this.#session.nonce === null) await this.#send("HEAD", newNonce);
    const nonce: string | null = this.#session.nonce;
    if (nonce === null) throw new AcmeError("invalid_response", "the server did not return a nonce");
    return nonce;
  }

  async #send(method: "GET" | "HEAD" | "POST", url: string, body?: string): Promise<AcmeResponse> {
    const { ca, signal } = this.#options;
    let response: AcmeResponse;
    try {
      response = await send({ method, url, body, ca, signal });
    } catch (error) {
      const { message, code = "" } = error as NodeJS.ErrnoException;
      throw new AcmeError("unreachable", boundText(message || code));
    }
    const nonce = response.headers["replay-nonce"];
    if (typeof nonce === "string" && /^[A-Za-z0-9_-]{1,512}$/.test(nonce)) this.#session.nonce = nonce;
    return response;
  }

  #retryAt({ headers }: AcmeResponse): number | null {
    return readRetryAfter(headers, Date.now(), LONGEST_RETRY);
  }
}

function objectOf({ body }: AcmeResponse): Json {
  const value = parseObject(body);
  if (value === null) throw new AcmeError("invalid_response", "the response is not a JSON object");
  return value;
}

/** @throws AcmeError if a value of the server is not an https URL */
export function readUrl(value: unknown, what: string): string {
  if (typeof value === "string" && value.length <= MAX_URL && /^https:\/\//i.test(value) && URL.canParse(value))
    return value;
  throw new AcmeError("invalid_response", `${what}: expected an https URL`);
}
