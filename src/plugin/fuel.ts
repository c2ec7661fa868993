/** How much fuel a call of a hook has: more where it has more to look at. */
import type { Exchange } from "../proxy/exchange.ts";
import { FUEL, HOOK } from "./abi.ts";

/** Fuel is an i32 in the guest. */
const MOST_FUEL = 2 ** 31 - 1;

/** Bytes that a hook can see: the heads as they were received, and in body hooks the chunk at hand. */
export function bytesSeen(hook: number, exchange: Exchange | null): number {
  if (exchange === null) return 0;
  const heads = exchange.request.received + exchange.response.received;
  const piece =
    hook === HOOK.request_body ? exchange.requestPiece : hook === HOOK.response_body ? exchange.answerPiece : null;
  return piece === null ? heads : heads + piece.end - piece.start;
}

/** Units for a call that sees so many bytes; `base` is `limits.fuel`. */
export function fuelFor(base: number, seen: number): number {
  return Math.min(base + FUEL.perByte * seen, MOST_FUEL);
}

/** Bytes up to which fuel grows. */
export function mostSeen(base: number): number {
  return Math.floor((MOST_FUEL - base) / FUEL.perByte);
}
