/** Counts, explains and logs the calls of one configuration that fail or are not made. */
import { HOOK } from "../../abi/abi.ts";
import type { ThrottledLog } from "../../observe/throttled-log.ts";
import type { Version } from "./canary-rollout.ts";
import { Fault } from "./fault.ts";
import type { Guest, GuestFailure } from "./guest.ts";
import type { HookContext } from "./hook-context.ts";
import type { InstanceCounters } from "./instance-counters.ts";
import { hookName, type PluginReport } from "./report.ts";
import type { SlowCalls } from "./slow-calls.ts";
import { GuestStartError } from "./start-guest.ts";

/** Hooks without a context, whose failures the canary rollout counts here. A failed `update` is counted by its caller. */
const WITHOUT_CONTEXT = (1 << HOOK.tick) | (1 << HOOK.save) | (1 << HOOK.restore);

export type FailureParts = {
  readonly plugin: string;
  readonly counters: InstanceCounters;
  readonly report: PluginReport;
  readonly warnings: ThrottledLog | null;
  readonly version: Version | null;
};

export class InstanceFailures {
  readonly #parts: FailureParts;

  constructor(parts: FailureParts) {
    this.#parts = parts;
  }

  /**
   * `guest`: the guest that failed; null: it could not be started. The stack is read only if it will be logged: it is
   * slow.
   */
  explain(guest: Guest | null, hook: number, error: unknown): GuestFailure {
    if (guest === null) return explainStart(error);
    const failure = guest.explain(error);
    return this.#parts.report.logs(hook, failure.reason) ? { ...failure, stack: guest.stackOf(error) } : failure;
  }

  /** A call failed. */
  failed(hook: number, failure: GuestFailure): void {
    const { counters, version, report } = this.#parts;
    counters.failed(hook, failure.reason);
    if (((WITHOUT_CONTEXT >>> hook) & 1) === 1) version?.countFailure(null);
    report.fail(hook, failure);
  }

  /** A call was not made: the plugin is in quarantine, the client is blocked, or earlier calls were slow. */
  refused(hook: number): void {
    this.#parts.counters.refused(hook);
    this.#parts.report.refuse();
  }

  /** A call was not made for a client whose requests make the plugin fail. */
  blocked(hook: number, { clientAddress }: HookContext): void {
    const message = "a plugin is not called for a client whose requests make it fail";
    this.#warn("plugin_client_refused", hook, message, { client: clientAddress });
  }

  /** A call was not made because earlier ones took longer than their fuel accounts for. */
  slow(hook: number, { milliseconds, fuel }: SlowCalls): void {
    const message = "a plugin is not called: its calls take longer than their fuel accounts for (limits.slow)";
    this.#warn("plugin_slow", hook, message, { milliseconds: Math.round(milliseconds), fuel });
  }

  /** A call was rejected: all guests are in use, and the queue is full. */
  rejected(hook: number, guests: number, queued: number): void {
    this.#parts.counters.rejected(hook);
    const message = "plugin call rejected: all guests are in use and the queue is full (limits.guests)";
    this.#warn("plugin_rejected", hook, message, { guests, queued });
  }

  #warn(event: string, hook: number, message: string, fields: Readonly<Record<string, unknown>>): void {
    const { plugin, warnings } = this.#parts;
    if (warnings?.admits(event, plugin)) warnings.write(message, { plugin, hook: hookName(hook), ...fields });
  }
}

function explainStart(error: unknown): GuestFailure {
  if (error instanceof GuestStartError)
    return { ...error.failure, reason: "start", message: `could not be started again: ${error.message}` };
  const message = error instanceof Error ? error.message : String(error);
  return { reason: error instanceof Fault ? error.reason : "host", message, stack: "" };
}
