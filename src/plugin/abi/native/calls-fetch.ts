/** Host calls that make a request of the plugin's own, and read its answer. */

import { CHECKED_ENDPOINT, HOOK, LIMIT, STATUS } from "../../../abi/abi.ts";
import { WORK } from "../../../abi/prices.ts";
import { isProtected } from "../../../http/fields.ts";
import { FIELD_WORDS, FRAMING, Head, NAME, NAME_ID, NAME_START, VALUE_START } from "../../../http/head.ts";
import { scanRequest } from "../../../http1/scan.ts";
import type { FetchRequest } from "../../host/fetcher.ts";
import type { EndpointTarget } from "../../host/hook-context.ts";
import { CALL_MEMORY } from "../call-charges.ts";
import type { CallContext } from "../call-context.ts";
import type { AsyncResult } from "./calls-sleep.ts";

const HEAD_LIMITS = { head: LIMIT.fetchHead + LIMIT.fetchUrl + 1024, target: LIMIT.fetchUrl, headers: 200 };
const CLUSTER = "cluster:";
/** For requests that say nothing else. */
const TIMEOUT = 5000;
const METHOD = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
const TARGET = /^(cluster:[^/?#\s]+|endpoint|https?:\/\/[^/?#\s@]+)(\/[^#\s]*|\?[^#\s]*)?$/;

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
      if (methodLength >>> 0 > 32 || timeout < 0 || most < 0 || most > LIMIT.fetchAnswer)
        return context.leave(STATUS.invalid);
      context.spend(WORK.fetch + WORK.fetchByte * ((urlLength >>> 0) + (fieldsLength >>> 0)));
      const { configuration } = context;
      const endpoint = context.scope.hook === HOOK.health_check ? (context.scope.target?.endpoint ?? null) : null;
      const request = readRequest(
        endpoint,
        memory.take(method, methodLength).toString("latin1"),
        memory.take(url, urlLength).toString("latin1"),
        memory.take(fields, fieldsLength).toString("latin1"),
        memory.take(body, bodyLength),
      );
      if (request === null) return context.leave(STATUS.invalid);
      if (configuration === null || configuration.fetcher === null || !context.scope.maySuspend)
        return context.leave(STATUS.notHere);
      const isChecked = request.target === CHECKED_ENDPOINT;
      if (!configuration.mayFetch(request.target) || (isChecked && endpoint === null))
        return context.leave(STATUS.denied);
      const { charges } = context;
      context.fetched = null;
      charges.charge("fetch", CALL_MEMORY.fetched, LIMIT.fetchHead + request.head.length + request.body.length);
      const wanted = most || LIMIT.fetchBody;
      const room = Math.max(0, charges.roomFor(CALL_MEMORY.fetched) - LIMIT.fetchHead);
      const whole: FetchRequest = {
        ...request,
        endpoint: isChecked ? endpoint : null,
        timeout: Math.min(timeout || TIMEOUT, context.scope.timeLeft),
        most: Math.min(wanted, room),
      };
      const { fetcher } = configuration;
      context.leave(STATUS.ok);
      const waited = context.suspension.suspend((answer) =>
        fetcher.send(whole, (came) => {
          if (typeof came === "number") return answer(came);
          context.fetched = came;
          context.grant(came.head.received + came.body.length);
          charges.setCharged(CALL_MEMORY.fetched, LIMIT.fetchHead + came.body.length);
          answer(came.head.status);
        }),
      );
      return room < wanted ? context.refuseTooLarge(waited, "fetch", room) : waited;
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

/** The field number `nth` of those that are told: none that framed the message. */
function nthField(head: Head, nth: number): number {
  for (let index = 0; index < head.count && nth >= 0; index++) if (!isHidden(head, index) && nth-- === 0) return index;
  return -1;
}

function isHidden(head: Head, index: number): boolean {
  const id = head.fields[index * FIELD_WORDS + NAME_ID]!;
  return id >= NAME.lookalike || (isProtected(id) && id !== NAME["content-length"]);
}

/** What a request that names no host says: its cluster, or where the endpoint is. */
function hostOf(target: string, endpoint: EndpointTarget | null): string {
  if (target.startsWith(CLUSTER)) return target.slice(CLUSTER.length);
  return endpoint === null || endpoint.path !== "" ? "localhost" : endpoint.address;
}

/** The request as it will be sent, checked as strictly as one of a client; null when it cannot be. */
function readRequest(
  endpoint: EndpointTarget | null,
  method: string,
  url: string,
  fields: string,
  body: Buffer,
): Pick<FetchRequest, "target" | "head" | "body"> | null {
  const [, target, rest = ""] = TARGET.exec(url) ?? [];
  if (
    target === undefined ||
    !METHOD.test(method) ||
    /[^\x21-\x7e]/.test(url) ||
    (fields !== "" && !fields.endsWith("\r\n"))
  )
    return null;
  const isOrigin = !target.startsWith(CLUSTER) && target !== CHECKED_ENDPOINT;
  if (isOrigin && !URL.canParse(target)) return null;
  const path = rest.startsWith("/") ? rest : `/${rest}`;
  const ownHost = /^host:/im.test(fields);
  if (ownHost && isOrigin) return null;
  const host = ownHost ? "" : `host: ${isOrigin ? new URL(target).host : hostOf(target, endpoint)}\r\n`;
  const plain = Buffer.from(`${method} ${path} HTTP/1.1\r\n${host}${fields}\r\n`, "latin1");
  const head = new Head();
  if (scanRequest(plain, 0, plain.length, head, HEAD_LIMITS) !== plain.length) return null;
  if (head.framing !== FRAMING.none) return null;
  for (let index = 0; index < head.count; index++) {
    const id = head.fields[index * FIELD_WORDS + NAME_ID]!;
    if (id >= NAME.lookalike || (isProtected(id) && id !== NAME.host)) return null;
  }
  return { target, head: plain, body };
}
