/** Checks and applies changes of the request's start line and the response's status, for every ABI. */
import { ATTRIBUTE, HEADERS, STATUS } from "../../abi/abi.ts";
import { PART } from "../../http/head.ts";
import { fitsPath, isServedMethod, LONGEST_METHOD } from "../../http/method.ts";
import { setPath, setQuery, setTarget } from "../../http/target.ts";
import type { CallContext } from "./call-context.ts";
import { hasRoom } from "./head-edits.ts";

const LAST_ATTRIBUTE = ATTRIBUTE.proxy_destination;

/** Sets an attribute to `bytes[start, end)`; returns a STATUS. */
export function setAttribute(context: CallContext, id: number, bytes: Buffer, start: number, end: number): number {
  if (id === ATTRIBUTE.status) return setStatus(context, bytes, start, end);
  const writable =
    id === ATTRIBUTE.method || id === ATTRIBUTE.path || id === ATTRIBUTE.query || id === ATTRIBUTE.target;
  if (!writable) return id >= 0 && id <= LAST_ATTRIBUTE ? STATUS.denied : STATUS.invalid;
  const head = context.scope.editable(HEADERS.request);
  if (head === null) return STATUS.notHere;
  if (!hasRoom(head, end - start)) return STATUS.tooLarge;
  context.charges.keep("attribute_set", end - start);
  switch (id) {
    case ATTRIBUTE.method:
      if (end - start > LONGEST_METHOD) return STATUS.tooLarge;
      if (!isServedMethod(bytes, start, end) || !fitsPath(bytes, start, end, head)) return STATUS.invalid;
      head.setPart(PART.method, bytes, start, end);
      return STATUS.ok;
    case ATTRIBUTE.path:
      return setPath(head, bytes, start, end) ? STATUS.ok : STATUS.invalid;
    case ATTRIBUTE.query:
      return setQuery(head, bytes, start, end) ? STATUS.ok : STATUS.invalid;
    default:
      return setTarget(head, bytes, start, end) ? STATUS.ok : STATUS.invalid;
  }
}

function setStatus(context: CallContext, bytes: Buffer, start: number, end: number): number {
  if (!context.scope.editsStatus()) return STATUS.notHere;
  let status = 0;
  for (let i = start; i < end; i++) {
    const digit = bytes[i]! - 48;
    if (digit < 0 || digit > 9 || i - start > 2) return STATUS.invalid;
    status = status * 10 + digit;
  }
  if (status < 200 || status > 599) return STATUS.invalid;
  const exchange = context.scope.responding()!;
  exchange.response.status = status;
  if (exchange.localStatus !== 0) exchange.localStatus = status;
  return STATUS.ok;
}
