/**
 * The keys that encrypt TLS session tickets (RFC 5077), in memory that all workers share: a session can be resumed on
 * any worker. The main thread adds a new key at an interval; tickets are issued with the newest key, and accepted with
 * earlier ones as well.
 */
import { randomFillSync } from "node:crypto";
import type { SecureContext } from "node:tls";

/** Each has a name, a key for HMAC-SHA-256 and one for AES-128-CBC, of 16 bytes. */
const PART = 16;
const KEY = 3 * PART;
const KEYS = 4;
const HEADER = 8;

/** OpenSSL accepts a session for two hours: its key must be known that long after the last ticket was issued with it. */
export const ROTATE_EVERY = 3_600_000;

/** Results of OpenSSL's ticket callback: the key is unknown; accepted; accepted, and a new ticket is issued. */
const UNKNOWN = 0;
const ACCEPTED = 1;
const RENEWED = 2;

/** Initialisation vectors are taken from a block of random bytes, since each call for them costs some microseconds. */
const RANDOM_BLOCK = 128 * PART;

type Key = { readonly name: Buffer; readonly hmac: Buffer; readonly aes: Buffer };

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
  /** Copies of the keys, the newest first, as of `#copied`: shared memory must not be passed to OpenSSL. */
  #copies: readonly Key[] = [];
  #copied = -1;
  readonly #random = Buffer.alloc(RANDOM_BLOCK);
  #randomAt = RANDOM_BLOCK;
  /**
   * Whether a resumed session gets a new ticket although the key of its ticket is the current one. Clients of TLS 1.3 use
   * a ticket once (RFC 8446 appendix C.4): without a new one each second or third connection would need a full handshake.
   * The callback does not know the version, so this is set for the handshake whose ClientHello is processed.
   */
  renews = true;

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
    if (typeof native.enableTicketKeyCallback !== "function") {
      const { name, hmac, aes } = this.#known()[0]!;
      return native.setTicketKeys(Buffer.concat([name, hmac, aes]));
    }
    native.onticketkeycallback = (name, iv, encrypts) => (encrypts ? this.#encrypt() : this.#decrypt(name, iv));
    native.enableTicketKeyCallback();
  }

  #known(): readonly Key[] {
    const count = Atomics.load(this.#count, 0);
    if (count === this.#copied) return this.#copies;
    this.#copied = count;
    this.#copies = Array.from({ length: Math.min(count, KEYS) }, (_, age) => {
      const at = ((count - 1 - age) % KEYS) * KEY;
      const key = Buffer.from(this.#keys.subarray(at, at + KEY));
      return { name: key.subarray(0, PART), hmac: key.subarray(PART, 2 * PART), aes: key.subarray(2 * PART) };
    });
    return this.#copies;
  }

  #encrypt(): unknown[] {
    const { name, hmac, aes } = this.#known()[0]!;
    if (this.#randomAt === RANDOM_BLOCK) {
      randomFillSync(this.#random);
      this.#randomAt = 0;
    }
    const iv = this.#random.subarray(this.#randomAt, this.#randomAt + PART);
    this.#randomAt += PART;
    return [ACCEPTED, hmac, aes, name, iv];
  }

  #decrypt(name: Buffer, iv: Buffer): unknown[] {
    const known = this.#known();
    for (let age = 0; age < known.length; age++) {
      const key = known[age]!;
      if (key.name.equals(name)) return [this.renews || age > 0 ? RENEWED : ACCEPTED, key.hmac, key.aes, name, iv];
    }
    return [UNKNOWN, NO_KEY, NO_KEY, name, iv];
  }
}

const NO_KEY = Buffer.alloc(PART);
