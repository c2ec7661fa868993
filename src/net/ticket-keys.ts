/**
 * The keys that encrypt TLS session tickets (RFC 5077), in memory that all workers share: a session can be resumed on
 * any worker. The main thread adds a new key at an interval; tickets are issued with the newest key, and accepted with
 * earlier ones as well.
 */
import { randomBytes, randomFillSync } from "node:crypto";
import type { SecureContext } from "node:tls";

/** Each has a name, a key for HMAC-SHA-256 and one for AES-128-CBC, of 16 bytes. */
const PART = 16;
const KEY = 3 * PART;
const KEYS = 4;
const HEADER = 8;

/** OpenSSL accepts a session for two hours: its key must be known that long after the last ticket was issued with it. */
export const ROTATE_EVERY = 3_600_000;

/**
 * Results of OpenSSL's ticket callback: the key is unknown; it is the one to encrypt with; the session is resumed and
 * gets a new ticket. Clients of TLS 1.3 use a ticket once (RFC 8446 appendix C.4): without a new one each second or third
 * connection would need a full handshake. The callback does not know the version, so TLS 1.2 gets new tickets as well.
 */
const UNKNOWN = 0;
const CURRENT = 1;
const RESUMED = 2;

type Callback = (name: Buffer, iv: Buffer, encrypts: boolean) => unknown[];
type Native = {
  enableTicketKeyCallback?: () => void;
  onticketkeycallback?: Callback;
  setTicketKeys(keys: Buffer): void;
};

export class TicketKeys {
  readonly buffer: SharedArrayBuffer;
  /** How many keys were added. */
  readonly #count: Int32Array;
  readonly #keys: Buffer;

  static allocate(): SharedArrayBuffer {
    const keys = new TicketKeys(new SharedArrayBuffer(HEADER + KEYS * KEY));
    keys.rotate();
    return keys.buffer;
  }

  constructor(buffer: SharedArrayBuffer) {
    this.buffer = buffer;
    this.#count = new Int32Array(buffer, 0, 1);
    this.#keys = Buffer.from(buffer as unknown as ArrayBuffer, HEADER);
  }

  /** Adds a key; the oldest is dropped. Main thread only. */
  rotate(): void {
    const count = this.#count[0]!;
    const at = (count % KEYS) * KEY;
    randomFillSync(this.#keys, at, KEY);
    Atomics.store(this.#count, 0, count + 1);
  }

  /** Makes a context use these keys, by a private method of Node: its public setter forgets older keys. */
  use({ context }: SecureContext): void {
    const native = context as Native;
    if (typeof native.enableTicketKeyCallback !== "function") return native.setTicketKeys(this.#current());
    native.onticketkeycallback = (name, iv, encrypts) => (encrypts ? this.#encrypt() : this.#decrypt(name, iv));
    native.enableTicketKeyCallback();
  }

  #current(): Buffer {
    return this.#slot((Atomics.load(this.#count, 0) - 1) % KEYS);
  }

  #slot(index: number): Buffer {
    // Copied out of shared memory, which must not be passed to OpenSSL.
    return Buffer.from(this.#keys.subarray(index * KEY, (index + 1) * KEY));
  }

  #encrypt(): unknown[] {
    const key = this.#current();
    return [CURRENT, key.subarray(PART, 2 * PART), key.subarray(2 * PART), key.subarray(0, PART), randomBytes(PART)];
  }

  #decrypt(name: Buffer, iv: Buffer): unknown[] {
    const count = Atomics.load(this.#count, 0);
    for (let age = 1; age <= Math.min(count, KEYS); age++) {
      const key = this.#slot((count - age) % KEYS);
      if (!key.subarray(0, PART).equals(name)) continue;
      return [RESUMED, key.subarray(PART, 2 * PART), key.subarray(2 * PART), name, iv];
    }
    return [UNKNOWN, Buffer.alloc(PART), Buffer.alloc(PART), name, iv];
  }
}
