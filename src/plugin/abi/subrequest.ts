/** Subrequests for every ABI: parsed as strictly as requests of clients, checked against `allow.fetch`, and sent. */
import { CHECKED_ENDPOINT, LIMIT, STATUS } from "../../abi/abi.ts";
import { isProtected } from "../../http/fields.ts";
import { FIELD_WORDS, FRAMING, Head, NAME, NAME_ID } from "../../http/head.ts";
import { scanRequest } from "../../http1/scan.ts";
import type { FetchRequest } from "../host/fetcher.ts";
import type { EndpointTarget } from "../host/hook-context.ts";
import { CALL_MEMORY } from "./call-charges.ts";
import type { CallContext } from "./call-context.ts";

const HEAD_LIMITS = { head: LIMIT.fetchHead + LIMIT.fetchUrl + 1024, target: LIMIT.fetchUrl, headers: 200 };
const CLUSTER = "cluster:";
/** Default timeout in milliseconds. */
const TIMEOUT = 5000;
const METHOD = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
const TARGET = /^(cluster:[^/?#\s]+|endpoint|https?:\/\/[^/?#\s@]+)(\/[^#\s]*|\?[^#\s]*)?$/;

/** Checks whether the current hook can send a request to the target; returns `ok`, `notHere` or `denied`. */
export function checkTarget(context: CallContext, target: string, endpoint: EndpointTarget | null): number {
  const { configuration } = context;
  if (configuration === null || configuration.fetcher === null || !context.scope.maySuspend) return STATUS.notHere;
  if (target === CHECKED_ENDPOINT && endpoint === null) return STATUS.denied;
  return configuration.mayFetch(target) ? STATUS.ok : STATUS.denied;
}

/**
 * Ends the host call of that name and suspends the guest until the response is complete (`context.fetched`). Returns its
 * status code, or a STATUS. `timeout`, `most`: 0 for the default. @throws Fault above `limits.memory`
 */
export function sendRequest(context: CallContext, call: string, request: FetchRequest): Promise<number> {
  const { charges } = context;
  context.fetched = null;
  charges.charge(call, CALL_MEMORY.fetched, LIMIT.fetchHead + request.head.length + request.body.length);
  const wanted = request.most || LIMIT.fetchBody;
  const available = Math.max(0, charges.available(CALL_MEMORY.fetched) - LIMIT.fetchHead);
  const whole: FetchRequest = {
    ...request,
    endpoint: request.target === CHECKED_ENDPOINT ? request.endpoint : null,
    timeout: Math.min(request.timeout || TIMEOUT, context.scope.timeLeft),
    most: Math.min(wanted, available),
  };
  const fetcher = context.configuration!.fetcher!;
  context.leave(STATUS.ok);
  const sent = context.suspension.suspend((done) =>
    fetcher.send(whole, (response) => {
      if (typeof response === "number") return done(response);
      context.fetched = response;
      context.grant(response.head.received + response.body.length);
      charges.setCharged(CALL_MEMORY.fetched, LIMIT.fetchHead + response.body.length);
      done(response.head.status);
    }),
  );
  return available < wanted ? context.failTooLarge(sent, call, available) : sent;
}

/** The default Host: the cluster's name, or the endpoint's address. */
function hostOf(target: string, endpoint: EndpointTarget | null): string {
  if (target.startsWith(CLUSTER)) return target.slice(CLUSTER.length);
  return endpoint === null || endpoint.path !== "" ? "localhost" : endpoint.address;
}

/** Builds and validates the request head; null if it is invalid. */
export function readRequest(
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

/** Whether a header is for framing or hop-by-hop: plugins do not see it. */
export function isFramingField(head: Head, index: number): boolean {
  const id = head.fields[index * FIELD_WORDS + NAME_ID]!;
  return id >= NAME.lookalike || (isProtected(id) && id !== NAME["content-length"]);
}
