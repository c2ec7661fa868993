import { ATTRIBUTE, STATUS } from "./abi";
import { readAttribute } from "./attributes";
import { setValue } from "./exchange";
import { Fetch } from "./fetch";
import { probe as probe_call, probe_read } from "./imports";
import { checkNumber } from "./status";

/** The endpoint under check, in `onHealthCheck`. */
// @ts-ignore: decorator
@final
export class Endpoint {
  /** Its address: `127.0.0.1:9001`, or `unix:/run/app.sock`. */
  get address(): string {
    return readAttribute(ATTRIBUTE.endpoint);
  }

  /** The cluster's name. */
  get cluster(): string {
    return readAttribute(ATTRIBUTE.cluster);
  }

  /** An id that is unique among checks and requests of this process, for logs. */
  get id(): string {
    return readAttribute(ATTRIBUTE.exchange_id);
  }

  /**
   * Creates a subrequest to the endpoint: `endpoint.fetch("/healthz").send()`, short for `new Fetch("endpoint/healthz")`.
   * It opens a new connection, and ends with the check's `timeout` at the latest. Requires `allow: { fetch: [endpoint] }`.
   */
  fetch(path: string): Fetch {
    return new Fetch("endpoint" + path);
  }

  /**
   * Opens a connection, sends `send`, and reads until the received bytes contain `until` or, if that is empty, until the
   * endpoint closes: `endpoint.probe("PING\r\n", "\r\n")`, or `endpoint.probe("", "220 ")` if the endpoint sends first.
   * Both texts are UTF-8, at most 64 KiB each; at most 16 KiB are received. `milliseconds`: 5000 if 0; the check's
   * `timeout` applies too. Needs no permission.
   */
  probe(send: string, until: string = "", milliseconds: i32 = 0): ProbeResponse {
    const sent = String.UTF8.encode(send);
    const expected = String.UTF8.encode(until);
    const length = probe_call(
      changetype<usize>(sent),
      sent.byteLength,
      changetype<usize>(expected),
      expected.byteLength,
      0,
      milliseconds,
    );
    if (length != STATUS.unreachable && length != STATUS.timedOut && length != STATUS.tooLarge)
      checkNumber(length, "cannot probe for milliseconds:", milliseconds);
    return new ProbeResponse(length);
  }

  /** Sets the reason shown to operators, and returns false: `return endpoint.unhealthy("is draining")`. */
  unhealthy(why: string): bool {
    setValue("problem", why);
    return false;
  }
}

/** The result of `probe`, valid until the hook ends or the next `probe`. */
// @ts-ignore: decorator
@final
export class ProbeResponse {
  constructor(private length: i32) {}

  /** Whether the endpoint could be reached. If it closed early, the expected text may be missing. */
  get ok(): bool {
    return this.length >= 0;
  }

  /** Whether the timeout expired. */
  get timedOut(): bool {
    return this.length == STATUS.timedOut;
  }

  /** The received bytes; empty without a result. */
  bytes(): Uint8Array {
    const bytes = new Uint8Array(max(this.length, 0));
    probe_read(0, bytes.dataStart, bytes.length);
    return bytes;
  }

  /** The received bytes as UTF-8; empty without a result. */
  text(): string {
    const bytes = this.bytes();
    return String.UTF8.decodeUnsafe(bytes.dataStart, bytes.length);
  }
}

export const endpoint = new Endpoint();
