/** The challenges that a CA may validate now (RFC 8555 section 8.3, RFC 8737), as a worker serves them. */
import { createSecureContext, type SecureContext } from "node:tls";

export type Challenge = { readonly name: string; readonly token: string } & (
  | { readonly type: "http-01"; readonly content: string }
  | { readonly type: "tls-alpn-01"; readonly cert: string; readonly key: string }
);

const PREFIX = Buffer.from("/.well-known/acme-challenge/");
/** Longer ones are not looked up. */
const MAX_TOKEN = 256;

export class Challenges {
  readonly #contents = new Map<string, Buffer>();
  readonly #certificates = new Map<string, { readonly token: string; readonly context: SecureContext }>();

  /** Whether any challenge by HTTP-01 is pending. */
  hasContents = false;

  add(challenge: Challenge): void {
    if (challenge.type === "http-01") {
      this.#contents.set(challenge.token, Buffer.from(challenge.content));
      this.hasContents = true;
      return;
    }
    const { name, token, cert, key } = challenge;
    this.#certificates.set(name, { token, context: createSecureContext({ cert, key, ca: [] }) });
  }

  remove({ type, name, token }: Challenge): void {
    if (type === "tls-alpn-01") {
      // Another order for the same name may have replaced it.
      if (this.#certificates.get(name)?.token === token) this.#certificates.delete(name);
      return;
    }
    this.#contents.delete(token);
    this.hasContents = this.#contents.size > 0;
  }

  /** The response to a request with the path `[start, end)` of these bytes, or null: it is no pending challenge. */
  contentFor(bytes: Buffer, start: number, end: number): Buffer | null {
    const token = start + PREFIX.length;
    if (end <= token || end > token + MAX_TOKEN || PREFIX.compare(bytes, start, token) !== 0) return null;
    return this.#contents.get(bytes.toString("latin1", token, end)) ?? null;
  }

  /** The context of the certificate that validates a server name, or null. */
  contextFor(serverName: string): SecureContext | null {
    return this.#certificates.get(serverName)?.context ?? null;
  }
}
