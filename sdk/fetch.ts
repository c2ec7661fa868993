import { KEY, KEY_CAP, VALUE, VALUE_CAP, narrow, widen } from "./bytes";
import { STATUS } from "./abi";
import { fetch as fetch_call, fetch_body, fetch_body_size, fetch_header, sleep as sleep_call } from "./imports";
import { check, checkNumber } from "./status";

/**
 * A request of the plugin's own: to a cluster of the configuration (`cluster:auth/check`, by the same endpoints, pools
 * and strategy as traffic), to an origin (`https://keys.example.com/jwks`), or in `onHealthCheck` to the endpoint that is
 * checked (`endpoint/healthz`). `allow.fetch` must name it.
 *
 *     const answer = new Fetch("cluster:auth/check").header("x-user", user).send();
 *     if (answer.status != 200) …
 */
// @ts-ignore: decorator
@final
export class Fetch {
  private method: string = "GET";
  private fields: string = "";
  private content: ArrayBuffer = new ArrayBuffer(0);
  private milliseconds: i32 = 0;
  private most: i32 = 0;

  constructor(private url: string) {}

  /** Another method than GET. */
  with(method: string): Fetch {
    this.method = method;
    return this;
  }

  /** Adds a field. `host` may be set for a cluster or endpoint, and is its name or address otherwise. */
  header(name: string, value: string): Fetch {
    this.fields += name + ": " + value + "\r\n";
    return this;
  }

  /** A body, as UTF-8: at most 1 MiB. */
  text(body: string): Fetch {
    this.content = String.UTF8.encode(body);
    return this;
  }

  /** A body: at most 1 MiB. */
  bytes(body: ArrayBuffer): Fetch {
    this.content = body;
    return this;
  }

  /** Milliseconds for all of it; 5,000 without it. */
  timeout(milliseconds: i32): Fetch {
    this.milliseconds = milliseconds;
    return this;
  }

  /** Bytes of the answer's body that are taken; 1 MiB without it, 16 MiB at most. */
  limit(bytes: i32): Fetch {
    this.most = bytes;
    return this;
  }

  /**
   * Sends it, and waits for the whole answer; others' requests go on meanwhile. Only in `onRequest`, `onResponse`, the
   * body hooks, `onTick` and `onHealthCheck`. What is wrong with the request itself, or not allowed, is an error; that
   * there was no answer is not.
   */
  send(): Fetched {
    const url = String.UTF8.encode(this.url);
    const fields = new ArrayBuffer(this.fields.length);
    narrow(this.fields, changetype<usize>(fields), fields.byteLength);
    const status = fetch_call(
      KEY,
      narrow(this.method, KEY, KEY_CAP),
      changetype<usize>(url),
      url.byteLength,
      changetype<usize>(fields),
      fields.byteLength,
      changetype<usize>(this.content),
      this.content.byteLength,
      this.milliseconds,
      this.most,
    );
    if (status != STATUS.unreachable && status != STATUS.timedOut && status != STATUS.tooLarge)
      check(status, "cannot fetch", this.url);
    return new Fetched(status);
  }
}

/** What came of a `Fetch`. It can be read until the hook ends, or until the next one is sent. */
// @ts-ignore: decorator
@final
export class Fetched {
  constructor(private code: i32) {}

  /** The answer's status code; 0 when there was none: unreachable, too late, or too large. */
  get status(): i32 {
    return max(this.code, 0);
  }

  /** Was it answered by 200 to 299? */
  get ok(): bool {
    return this.code >= 200 && this.code <= 299;
  }

  /** Did the time run out? */
  get timedOut(): bool {
    return this.code == STATUS.timedOut;
  }

  /** The first value of that header, or null. */
  header(name: string): string | null {
    return this.nth(name, 0);
  }

  /** The value number `nth` (0 the first) of that header, or null. */
  nth(name: string, nth: i32): string | null {
    if (this.code < 0) return null;
    const length = fetch_header(KEY, narrow(name, KEY, KEY_CAP), nth, VALUE, VALUE_CAP);
    return length < 0 || length > VALUE_CAP ? null : widen(VALUE, length);
  }

  /** The body. */
  bytes(): Uint8Array {
    const bytes = new Uint8Array(max(fetch_body_size(), 0));
    fetch_body(0, bytes.dataStart, bytes.length);
    return bytes;
  }

  /** The body as UTF-8. */
  text(): string {
    const bytes = this.bytes();
    return String.UTF8.decodeUnsafe(bytes.dataStart, bytes.length);
  }
}

/**
 * Waits that many milliseconds; others' requests go on meanwhile. Only in `onRequest`, `onResponse`, the body hooks,
 * `onTick` and `onHealthCheck`. `limits.time` bounds what one call may wait altogether.
 */
export function sleep(milliseconds: i32): void {
  checkNumber(sleep_call(milliseconds), "cannot sleep milliseconds:", milliseconds);
}
