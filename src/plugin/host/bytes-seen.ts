/** The number of bytes that a hook call can read, by which its fuel budget grows. */

import { HOOK } from "../../abi/abi.ts";
import type { Head } from "../../http/head.ts";
import { chunkOf, type ExchangeContext, type HookContext } from "./hook-context.ts";

const measured = new WeakMap<object, number>();

/** Bytes of a configuration as JSON; cached. */
export function configBytes(config: unknown): number {
  if (typeof config !== "object" || config === null) return typeof config === "string" ? config.length : 0;
  let bytes = measured.get(config);
  if (bytes === undefined) {
    const text = JSON.stringify(config, (_, value: unknown) => (typeof value === "bigint" ? String(value) : value));
    measured.set(config, (bytes = Buffer.byteLength(text)));
  }
  return bytes;
}

/**
 * Bytes that a hook can read: both message heads as received, in body hooks the chunk, and after the last one the
 * trailers.
 */
export function bytesSeen(hook: number, target: HookContext | null): number {
  const exchange = target === null ? null : target.exchange;
  if (exchange === null) return 0;
  const heads = exchange.headBytes;
  const chunk = chunkOf(hook, exchange);
  const trailers = trailersOf(hook, exchange)?.end ?? 0;
  return chunk === null ? heads + trailers : heads + trailers + chunk.end - chunk.start;
}

function trailersOf(hook: number, { requestTrailers, responseTrailers }: ExchangeContext): Head | null {
  if (hook === HOOK.request_body || hook === HOOK.request_trailers) return requestTrailers;
  return hook === HOOK.response_body || hook === HOOK.response_trailers ? responseTrailers : null;
}
