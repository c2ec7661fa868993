/** `sluice:fetch/1`: subrequests and their responses. */

import { LIMIT, STATUS } from "../../../abi/abi.ts";
import { WORK } from "../../../abi/prices.ts";
import { FIELD_WORDS, type Head, NAME_START, VALUE_START } from "../../../http/head.ts";
import type { CallContext } from "../call-context.ts";
import { checkTarget, isFramingField, readRequest, sendRequest } from "../subrequest.ts";
import type { AsyncResult } from "./calls-sleep.ts";

export function makeFetchCalls(context: CallContext) {
  const { memory } = context;
  return {
    fetch: (
      method: number,
      methodLength: number,
      url: number,
      urlLength: number,
      fields: number,
      fieldsLength: number,
      body: number,
      bodyLength: number,
      timeout: number,
      most: number,
    ): AsyncResult => {
      context.enter("fetch", (urlLength >>> 0) + (fieldsLength >>> 0) + (bodyLength >>> 0));
      memory.check(method, methodLength);
      memory.check(url, urlLength);
      memory.check(fields, fieldsLength);
      memory.check(body, bodyLength);
      if (
        urlLength >>> 0 > LIMIT.fetchUrl ||
        fieldsLength >>> 0 > LIMIT.fetchHead ||
        bodyLength >>> 0 > LIMIT.fetchBody
      )
        return context.leave(STATUS.tooLarge);
      if (methodLength >>> 0 > 32 || timeout < 0 || most < 0 || most > LIMIT.fetchResponse)
        return context.leave(STATUS.invalid);
      context.spend(WORK.fetch + WORK.fetchByte * ((urlLength >>> 0) + (fieldsLength >>> 0)));
      const endpoint = context.scope.checkedEndpoint;
      const request = readRequest(
        endpoint,
        memory.take(method, methodLength).toString("latin1"),
        memory.take(url, urlLength).toString("latin1"),
        memory.take(fields, fieldsLength).toString("latin1"),
        memory.take(body, bodyLength),
      );
      if (request === null) return context.leave(STATUS.invalid);
      const refused = checkTarget(context, request.target, endpoint);
      if (refused !== STATUS.ok) return context.leave(refused);
      return sendRequest(context, "fetch", { ...request, endpoint, timeout, most });
    },

    fetch_header(name: number, nameLength: number, nth: number, out: number, cap: number): number {
      context.enter("fetch_header", nameLength >>> 0);
      const start = memory.check(name, nameLength);
      memory.check(out, cap);
      const head = context.fetched?.head;
      const index =
        head === undefined || nth < 0 ? -1 : head.find(memory.bytes, start, start + (nameLength >>> 0), nth);
      if (head === undefined || index < 0) return context.leave(STATUS.absent);
      return context.leave(give(context, head, index * FIELD_WORDS + VALUE_START, out, cap));
    },

    fetch_header_at(index: number, what: number, out: number, cap: number): number {
      context.enter("fetch_header_at", 0);
      memory.check(out, cap);
      if (what !== 0 && what !== 1) return context.leave(STATUS.invalid);
      const head = context.fetched?.head;
      const found = head === undefined ? -1 : nthField(head, index);
      if (head === undefined || found < 0) return context.leave(STATUS.absent);
      return context.leave(
        give(context, head, found * FIELD_WORDS + (what === 0 ? NAME_START : VALUE_START), out, cap),
      );
    },

    fetch_body_size(): number {
      context.enter("fetch_body_size", 0);
      return context.leave(context.fetched === null ? STATUS.absent : context.fetched.body.length);
    },

    fetch_body(offset: number, out: number, cap: number): number {
      context.enter("fetch_body", 0);
      const at = memory.check(out, cap);
      if (context.fetched === null) return context.leave(STATUS.absent);
      const { body } = context.fetched;
      const start = Math.min(body.length, offset >>> 0);
      const end = Math.min(body.length, start + (cap >>> 0));
      context.spend(end - start);
      body.copy(memory.bytes, at, start, end);
      return context.leave(end - start);
    },
  };
}

function give(context: CallContext, head: Head, word: number, out: number, cap: number): number {
  const start = head.fields[word]!;
  const end = head.fields[word + 1]!;
  context.spend(end - start);
  return context.memory.give(head.bytes, start, end, out, cap);
}

/** Returns the index of the nth visible header (framing headers are hidden), or -1. */
function nthField(head: Head, nth: number): number {
  for (let index = 0; index < head.count && nth >= 0; index++)
    if (!isFramingField(head, index) && nth-- === 0) return index;
  return -1;
}
