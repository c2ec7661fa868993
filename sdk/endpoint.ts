import { ATTRIBUTE } from "./abi";
import { readAttribute } from "./attributes";
import { setValue } from "./exchange";
import { Fetch } from "./fetch";

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

  /** Says why it is unhealthy, for people to read: `return endpoint.unhealthy("is draining")`. Always false. */
  unhealthy(why: string): bool {
    setValue("problem", why);
    return false;
  }
}

export const endpoint = new Endpoint();
