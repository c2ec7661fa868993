/** Makes local responses: of errors, of plugins, and to OPTIONS. */
import { FRAMING, NAME } from "../http/head.ts";
import { reasonOf } from "../http/status.ts";
import { ERROR, type ProxyError } from "./error.ts";
import type { Exchange } from "./exchange.ts";
import { isCall, makeCallError, makeCallResponse } from "./grpc.ts";

type Prepared = { readonly body: Buffer; readonly message: string; readonly proxyStatus: Buffer };

const PROXY_STATUS = Buffer.from("proxy-status");
const CONTENT_TYPE = Buffer.from("content-type");
const ALLOW = Buffer.from("allow");
/** Methods in `Allow`; extension methods are served too, CONNECT and TRACE are not. */
const METHODS = Buffer.from("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
const NOTHING = Buffer.alloc(0);
const TEXT = Buffer.from("text/plain; charset=utf-8");

const prepared = new Map<ProxyError, Prepared>(
  Object.values(ERROR).map((error) => {
    const message = `${reasonOf(error.status)}${error.text === "" ? "" : `: ${error.text}`}`;
    const body = Buffer.from(`${error.status} ${message}\n`);
    return [error, { body, message, proxyStatus: Buffer.from(`sluice; error=${error.type}`) }];
  }),
);

/** Makes an error response: status, `Proxy-Status` (RFC 9209), a short text; of a gRPC call its status. No cause. */
export function prepareErrorResponse(x: Exchange, error: ProxyError): void {
  const { body, message, proxyStatus } = prepared.get(error)!;
  const head = x.localResponse();
  head.reset();
  head.status = error.status;
  head.framing = FRAMING.length;
  head.add(PROXY_STATUS, proxyStatus, NAME.other);
  x.error = error;
  if (isCall(x)) return makeCallError(x, error, message);
  head.add(CONTENT_TYPE, TEXT, NAME["content-type"]);
  if (error === ERROR.methodNotAllowed) head.add(ALLOW, METHODS, NAME.other);
  x.localStatus = error.status;
  x.localBody = body;
}

/** Makes the response to an OPTIONS request that may not be forwarded (RFC 9110 section 7.6.2). */
export function prepareOptionsResponse(x: Exchange): void {
  const head = x.localResponse();
  head.reset();
  head.add(ALLOW, METHODS, NAME.other);
  x.localStatus = 200;
  x.localBody = NOTHING;
}

/** Makes the response to a request with the path of a pending ACME challenge (RFC 8555 section 8.3). */
export function prepareChallengeResponse(x: Exchange, content: Buffer): void {
  const head = x.localResponse();
  head.reset();
  head.add(CONTENT_TYPE, TEXT, NAME["content-type"]);
  x.localStatus = 200;
  x.localBody = content;
}

/** Completes `x.response` after a plugin called `respond`, which has set its fields. */
export function prepareLocalResponse(x: Exchange): void {
  x.response.status = x.localStatus;
  x.response.framing = FRAMING.length;
  if (isCall(x)) makeCallResponse(x);
}
