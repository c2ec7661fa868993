/** What a call of a hook has to look at: it has fuel for that. */

import { HOOK } from "../../abi/abi.ts";
import type { HookContext } from "./hook-context.ts";

const measured = new WeakMap<object, number>();

/** Bytes of a configuration as JSON, measured once for each. */
export function configBytes(config: unknown): number {
  if (typeof config !== "object" || config === null) return typeof config === "string" ? config.length : 0;
  let bytes = measured.get(config);
  if (bytes === undefined) {
    const text = JSON.stringify(config, (_, value: unknown) => (typeof value === "bigint" ? String(value) : value));
    measured.set(config, (bytes = Buffer.byteLength(text)));
  }
  return bytes;
}

/** Bytes that a hook can see: the heads as they were received, and in body hooks the chunk at hand. */
export function bytesSeen(hook: number, target: HookContext | null): number {
  const exchange = target === null ? null : target.exchange;
  if (exchange === null) return 0;
  const heads = exchange.headBytes;
  const piece =
    hook === HOOK.request_body ? exchange.requestChunk : hook === HOOK.response_body ? exchange.responseChunk : null;
  return piece === null ? heads : heads + piece.end - piece.start;
}
