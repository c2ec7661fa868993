import { KEY, KEY_CAP, VALUE, VALUE_CAP, narrow, widen } from "./bytes";
import { STATUS } from "./abi";
import { fetch as fetch_call, fetch_body, fetch_body_size, fetch_header, sleep as sleep_call } from "./imports";
import { check, checkNumber } from "./status";

/**
 * A subrequest: to a cluster (`cluster:auth/check`, with its endpoints, pools and strategy), to an origin
 * (`https://keys.example.com/jwks`), or in `onHealthCheck` to the endpoint under check (`endpoint/healthz`). Requires the
 * target in `allow.fetch`. Redirects are not followed.
 *
 *     const response = new Fetch("cluster:auth/check").header("x-user", user).send();
 *     if (response.status != 200) …
 */
// @ts-ignore: decorator
@final
export class Fetch {
  private verb: string = "GET";
  private fields: string = "";
  private content: ArrayBuffer = new ArrayBuffer(0);
  private milliseconds: i32 = 0;
  private maxBytes: i32 = 0;

  constructor(private url: string) {}

  /** Sets the method; GET by default. */
  method(name: string): Fetch {
    this.verb = name;
    return this;
  }

  /** Adds a header. `host` is allowed only for a cluster or endpoint; its default is the name or address. */
  header(name: string, value: string): Fetch {
    this.fields += name + ": " + value + "\r\n";
    return this;
  }

  /** Sets the body, as UTF-8: at most 1 MiB. */
  text(body: string): Fetch {
    this.content = String.UTF8.encode(body);
    return this;
  }

  /** Sets the body: at most 1 MiB. */
  bytes(body: ArrayBuffer): Fetch {
    this.content = body;
    return this;
  }

  /** Sets the timeout of the whole exchange, in milliseconds; 5,000 by default. */
  timeout(milliseconds: i32): Fetch {
    this.milliseconds = milliseconds;
    return this;
  }

  /** Sets the limit of the response body, in bytes; 1 MiB by default, at most 16 MiB. */
  limit(bytes: i32): Fetch {
    this.maxBytes = bytes;
    return this;
  }

  /**
   * Sends the request and suspends the plugin until the whole response is received; other requests continue. Available in
   * `onConnection`, `onRequest`, `onResponse`, the body hooks, `onTick` and `onHealthCheck`. Throws if the request is
   * invalid or not permitted; a missing response is reported by `status` 0.
   */
  send(): FetchResponse {
    const url = String.UTF8.encode(this.url);
    const fields = new ArrayBuffer(this.fields.length);
    narrow(this.fields, changetype<usize>(fields), fields.byteLength);
    const status = fetch_call(
      KEY,
      narrow(this.verb, KEY, KEY_CAP),
      changetype<usize>(url),
      url.byteLength,
      changetype<usize>(fields),
      fields.byteLength,
      changetype<usize>(this.content),
      this.content.byteLength,
      this.milliseconds,
      this.maxBytes,
    );
    if (status != STATUS.unreachable && status != STATUS.timedOut && status != STATUS.tooLarge)
      check(status, "cannot fetch", this.url);
    return new FetchResponse(status);
  }
}

/** The response to a `Fetch`, valid until the hook ends or the next one is sent. */
// @ts-ignore: decorator
@final
export class FetchResponse {
  constructor(private code: i32) {}

  /** The status code; 0 without a response: unreachable, timed out, or too large. */
  get status(): i32 {
    return max(this.code, 0);
  }

  /** Whether the status is 200 to 299. */
  get ok(): bool {
    return this.code >= 200 && this.code <= 299;
  }

  /** Whether the timeout expired. */
  get timedOut(): bool {
    return this.code == STATUS.timedOut;
  }

  /** The first value of that header, or null. */
  header(name: string): string | null {
    return this.nth(name, 0);
  }

  /** Value `nth` of that header, counted from 0, or null. */
  nth(name: string, nth: i32): string | null {
    if (this.code < 0) return null;
    const length = fetch_header(KEY, narrow(name, KEY, KEY_CAP), nth, VALUE, VALUE_CAP);
    return length < 0 || length > VALUE_CAP ? null : widen(VALUE, length);
  }

  /** The body; empty without a response. */
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
 * Suspends the plugin for that many milliseconds; other requests continue. Available in the same hooks as `Fetch.send`.
 * `limits.time` limits the whole hook call.
 */
export function sleep(milliseconds: i32): void {
  checkNumber(sleep_call(milliseconds), "cannot sleep milliseconds:", milliseconds);
}
