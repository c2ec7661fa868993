import { ATTRIBUTE, STATUS } from "./abi";
import { readAttribute } from "./attributes";
import { setValue } from "./exchange";
import { Fetch } from "./fetch";
import { probe as probe_call, probe_read } from "./imports";
import { checkNumber } from "./status";

/** The endpoint that is to be checked. */
// @ts-ignore: decorator
@final
export class Endpoint {
  /** `127.0.0.1:9001`, or `unix:/run/app.sock`. */
  get address(): string {
    return readAttribute(ATTRIBUTE.endpoint);
  }

  /** The cluster's name. */
  get cluster(): string {
    return readAttribute(ATTRIBUTE.cluster);
  }

  /** A number that no other check or request of this process has: for logs. */
  get id(): string {
    return readAttribute(ATTRIBUTE.exchange_id);
  }

  /**
   * A request to it: `endpoint.fetch("/healthz").send()`, short for `new Fetch("endpoint/healthz")`. It goes over a
   * connection of its own, and ends when the check's `timeout` is over at the latest. `allow.fetch` must name `endpoint`.
   */
  fetch(path: string): Fetch {
    return new Fetch("endpoint" + path);
  }

  /**
   * Says `send` to it over a connection of its own, in any protocol, and waits until the answer holds `until`, or without
   * that until the endpoint ends it: `endpoint.probe("PING\r\n", "\r\n")`, or `endpoint.probe("", "220 ")` for one that
   * speaks first. Both are UTF-8, at most 64 KiB each; of the answer 16 KiB are taken. It ends when the check's `timeout`
   * is over at the latest.
   */
  probe(send: string, until: string = "", milliseconds: i32 = 0): Probed {
    const said = String.UTF8.encode(send);
    const wanted = String.UTF8.encode(until);
    const length = probe_call(
      changetype<usize>(said),
      said.byteLength,
      changetype<usize>(wanted),
      wanted.byteLength,
      0,
      milliseconds,
    );
    if (length != STATUS.unreachable && length != STATUS.timedOut && length != STATUS.tooLarge)
      checkNumber(length, "cannot probe for milliseconds:", milliseconds);
    return new Probed(length);
  }

  /** Says why it is unhealthy, for people to read: `return endpoint.unhealthy("is draining")`. Always false. */
  unhealthy(why: string): bool {
    setValue("problem", why);
    return false;
  }
}

/** What came of a `probe`. It can be read until the hook ends, or until the next one. */
// @ts-ignore: decorator
@final
export class Probed {
  constructor(private length: i32) {}

  /** Was there an answer? It may lack what was waited for, where the endpoint ended it before. */
  get ok(): bool {
    return this.length >= 0;
  }

  /** Did the time run out? */
  get timedOut(): bool {
    return this.length == STATUS.timedOut;
  }

  /** The answer as bytes; none when there was none. */
  bytes(): Uint8Array {
    const bytes = new Uint8Array(max(this.length, 0));
    probe_read(0, bytes.dataStart, bytes.length);
    return bytes;
  }

  /** The answer as UTF-8; empty when there was none. */
  text(): string {
    const bytes = this.bytes();
    return String.UTF8.decodeUnsafe(bytes.dataStart, bytes.length);
  }
}

export const endpoint = new Endpoint();
