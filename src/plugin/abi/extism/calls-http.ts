/** Host functions of Extism that send a subrequest and read its response. */
import { LIMIT, STATUS } from "../../../abi/abi.ts";
import { WORK } from "../../../abi/prices.ts";
import type { Head } from "../../../http/head.ts";
import { Fault } from "../../host/fault.ts";
import type { FetchRequest } from "../../host/fetcher.ts";
import type { EndpointTarget } from "../../host/hook-context.ts";
import type { CallContext } from "../call-context.ts";
import { checkTarget, isFramingField, readRequest, sendRequest } from "../subrequest.ts";
import { give } from "./blocks.ts";
import type { Kernel } from "./kernel.ts";
import { describe } from "./output-schema.ts";
import { payForParsing } from "./parsing-cost.ts";

/** RFC 9110 section 5.6.2. */
const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;

export function makeHttpCalls(context: CallContext, kernel: Kernel) {
  const { memory } = context;
  return {
    async request(handle: bigint, bodyHandle: bigint): Promise<bigint> {
      context.enter("http_request", 0);
      const length = kernel.size("http_request", handle);
      const bodyLength = bodyHandle === 0n ? 0 : kernel.size("http_request", bodyHandle);
      if (length > LIMIT.fetchUrl + LIMIT.fetchHead || bodyLength > LIMIT.fetchBody)
        throw new Fault("bad_result", "http_request: the request is too large");
      const at = Number(handle);
      context.spend(WORK.fetch + WORK.fetchByte * length + bodyLength);
      payForParsing(context, memory.bytes, at, at + length);
      const body = bodyLength === 0 ? Buffer.alloc(0) : memory.take(Number(bodyHandle), bodyLength);
      const endpoint = context.scope.checkedEndpoint;
      const { url, request } = parseRequest(memory.takeUtf8(at, length), body, endpoint);
      let status = checkTarget(context, request.target, endpoint);
      if (status === STATUS.ok) status = await sendRequest(context, "http_request", request);
      if (status < 0) throw new Fault("host", `http_request to ${url}: ${FAILURES[status] ?? UNREACHABLE}`);
      context.enter("http_request", 0);
      return give(context, kernel, "http_request", context.fetched!.body);
    },

    statusCode(): number {
      context.enter("http_status_code", 0);
      return context.leave(context.fetched?.head.status ?? 0);
    },

    headers(): bigint {
      context.enter("http_headers", 0);
      const head = context.fetched?.head;
      if (head === undefined) return give(context, kernel, "http_headers", null);
      context.spend(WORK.givenField * head.count + WORK.keptByte * head.received);
      return give(context, kernel, "http_headers", Buffer.from(JSON.stringify(fieldsOf(head)), "utf8"));
    },
  };
}

/** Headers by name in lower case; values of one name are joined by commas, as in the Fetch standard. */
function fieldsOf(head: Head): Record<string, string> {
  const joined = new Map<string, string>();
  for (let index = 0; index < head.count; index++) {
    if (isFramingField(head, index)) continue;
    const name = head.nameText(index).toLowerCase();
    const before = joined.get(name);
    joined.set(name, before === undefined ? head.valueText(index) : `${before}, ${head.valueText(index)}`);
  }
  return Object.fromEntries(joined);
}

function parseRequest(
  json: string,
  body: Buffer,
  endpoint: EndpointTarget | null,
): { readonly url: string; readonly request: FetchRequest } {
  let parsed: unknown;
  try {
    parsed = JSON.parse(json);
  } catch {
    throw new Fault("bad_result", "http_request: the request is not JSON");
  }
  const { url, method = "GET", headers, header } = (parsed ?? {}) as Record<string, unknown>;
  const fields = headers ?? header ?? {};
  if (typeof url !== "string" || typeof method !== "string" || typeof fields !== "object" || Array.isArray(fields))
    throw new Fault("bad_result", "http_request: expected { url, method, headers } in JSON");
  const text = Object.entries(fields).map(lineOf).join("");
  // One byte per character.
  const isBytes = /^[\0-\xff]*$/.test(text) && text.length <= LIMIT.fetchHead;
  const read = isBytes ? readRequest(endpoint, method.toUpperCase(), url, text, body) : null;
  const shown = JSON.stringify(url.slice(0, 200));
  if (read === null) throw new Fault("bad_result", `http_request: not a valid request to ${shown}`);
  return { url: shown, request: { ...read, endpoint, timeout: 0, most: 0 } };
}

/** One field; its name and value cannot add another one. @throws Fault */
function lineOf([name, value]: [string, unknown]): string {
  const shown = JSON.stringify(name.slice(0, LIMIT.headerName));
  if (!TOKEN.test(name)) throw new Fault("bad_result", `http_request: ${shown} is not the name of a header`);
  if (typeof value !== "string" && typeof value !== "number" && typeof value !== "boolean")
    throw new Fault("bad_result", `http_request: the header ${shown} is ${describe(value)}, expected a text`);
  const text = String(value);
  if (/[\0\r\n]/.test(text))
    throw new Fault("bad_result", `http_request: the header ${shown} has a line break or U+0000`);
  return `${name}: ${text}\r\n`;
}

const UNREACHABLE = "the peer could not be reached, or closed the connection";
const FAILURES: Readonly<Record<number, string>> = {
  [STATUS.denied]: "not allowed (allow.fetch)",
  [STATUS.notHere]: "not possible in this hook",
  [STATUS.timedOut]: "timed out",
  [STATUS.tooLarge]: "the response is too large",
  [STATUS.busy]: "too many requests in flight",
};
