/** The OCSP responses that a worker staples (RFC 6066 section 8). The main thread fetches and verifies them. */

export type Staple = {
  readonly response: Uint8Array;
  /** Wall-clock ms until which it may be sent. */
  readonly until: number;
};

export class Staples {
  readonly #byId = new Map<string, Staple>();

  /** `id`: `TlsCertificate.staple`; null: it has no response now. */
  set(id: string, staple: Staple | null): void {
    if (staple === null) this.#byId.delete(id);
    else this.#byId.set(id, staple);
  }

  /** The response to send for a certificate now, or null. */
  get(id: string): Uint8Array | null {
    const staple = this.#byId.get(id);
    return staple !== undefined && Date.now() < staple.until ? staple.response : null;
  }
}
