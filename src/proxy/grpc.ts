/**
 * gRPC calls: an exchange whose client, or whose request as plugins have made it, has the content type of gRPC. Its
 * deadline bounds all attempts and the whole response; responses that Sluice makes carry a status of gRPC.
 */

import { performance } from "node:perf_hooks";
import {
  encodeMessage,
  findGrpcType,
  formatTimeout,
  GRPC,
  GRPC_MESSAGE,
  GRPC_PREVIOUS_ATTEMPTS,
  GRPC_PUSHBACK,
  GRPC_STATUS,
  GRPC_TIMEOUT,
  GRPC_TYPE,
  grpcOfHttp,
  httpOfGrpc,
  readNumber,
  readStatus,
  readTimeout,
} from "../http/grpc.ts";
import { FLAG, Head, NAME } from "../http/head.ts";
import { VERSION } from "../http/protocol.ts";
import { reasonOf } from "../http/status.ts";
import type { ProxyError } from "./error.ts";
import type { Exchange } from "./exchange.ts";

const CONTENT_TYPE = Buffer.from("content-type");
/** Bytes of a plugin's response body that become the message of the status. */
const MAX_MESSAGE = 1024;
/** Size of trailers with a status and a message. */
const TRAILERS = 256;

/** Whether it is a gRPC call, and remains one; over HTTP/1 only a request that a plugin has translated. */
export function isCall(x: Exchange): boolean {
  if (x.isGrpc) return true;
  const { request } = x;
  if (request.version !== VERSION.http2 && request.end === x.originalEnd) return false;
  const index = findGrpcType(request);
  if (index < 0 || x.isSubrequest) return false;
  if (request.version !== VERSION.http2 && request.valueStart(index) < x.originalEnd) return false;
  // Required by gRPC, and hop-by-hop: the client of a bridge cannot send it.
  request.flags |= FLAG.teTrailers;
  x.isGrpc = true;
  return true;
}

/** Reads the call's timeout, again after plugins may have shortened it. Returns false if it is malformed. */
export function takeDeadline(x: Exchange): boolean {
  const timeout = readTimeout(x.request);
  if (timeout < -1) return false;
  x.callDeadline = timeout < 0 ? 0 : x.headAt + timeout;
  if (timeout >= 0) limitTime(x, x.callDeadline);
  return true;
}

/** Makes `end` the deadline of the exchange, unless that is earlier already. */
export function limitTime(x: Exchange, end: number): void {
  if (x.deadline !== 0 && x.deadline <= end) return;
  x.deadline = end;
  if (x.timeLimit !== null) x.timeLimit.deadline = end;
}

/** Sets the rest of the call's time and the number of earlier attempts. Returns false if no time is left. */
export function beginCall(x: Exchange): boolean {
  if (x.callDeadline > 0) {
    const left = x.callDeadline - performance.now();
    if (left <= 0) return false;
    setField(x.request, GRPC_TIMEOUT, formatTimeout(left));
  }
  if (x.attempts > 0) {
    // Those of the client, which may have repeated the call, and those of earlier attempts.
    const before = Math.max(0, readNumber(x.request, GRPC_PREVIOUS_ATTEMPTS));
    setField(x.request, GRPC_PREVIOUS_ATTEMPTS, String(before + 1));
  }
  x.grpcStatus = -1;
  return true;
}

/** Sets the value of a field in place, or adds the field. */
function setField(head: Head, name: Buffer, text: string): void {
  const value = Buffer.from(text, "latin1");
  const index = head.find(name, 0, name.length);
  if (index < 0) head.add(name, value, NAME.other);
  else head.replaceValue(index, value);
}

/** Takes the status of the endpoint, if it is in these headers (a response of trailers only) or trailers. */
export function takeStatus(x: Exchange, head: Head): void {
  x.grpcStatus = readStatus(head);
}

/**
 * The HTTP status by which the attempt is counted: that of the call's status if it is known. A deadline that the client
 * has set is no failure of the endpoint: by short ones, a client could have endpoints ejected.
 */
export function countedStatus({ grpcStatus, callDeadline }: Exchange, status: number): number {
  if (status !== 200 || grpcStatus <= GRPC.ok) return status;
  return grpcStatus === GRPC.deadlineExceeded && callDeadline > 0 ? 499 : httpOfGrpc(grpcStatus);
}

/** Whether the route retries the status of this response, and the endpoint does not ask for a pause. */
export function retriesStatus({ grpcStatus, route, attempt }: Exchange): boolean {
  if (grpcStatus < 0 || ((route!.retry.grpc >>> grpcStatus) & 1) === 0) return false;
  const pause = readNumber(attempt.head, GRPC_PUSHBACK);
  return pause === -1 || pause === 0;
}

/** The final status of the call, for metrics and the log. */
export function finalStatus(x: Exchange): number {
  const { grpcStatus, error, response } = x;
  if (grpcStatus >= 0) return grpcStatus;
  if (error !== null) return statusOf(x, error);
  const status = x.responseTrailers === null ? -1 : readStatus(x.responseTrailers);
  if (status >= 0) return status;
  return grpcOfHttp(response.status);
}

function statusOf(x: Exchange, error: ProxyError): number {
  if (error.source !== "upstream" || x.deadline === 0) return error.grpc;
  return performance.now() >= x.deadline ? GRPC.deadlineExceeded : error.grpc;
}

/** Makes the local response that of a failed call: 200 and headers only, which are its trailers too. */
export function makeCallError(x: Exchange, error: ProxyError, message: string): void {
  setStatus(x, statusOf(x, error));
  x.response.add(GRPC_MESSAGE, encodeMessage(Buffer.from(message)), NAME.other);
}

/** The same of a response that a plugin has made, unless it is one of gRPC: its body becomes the message. */
export function makeCallResponse(x: Exchange): void {
  const { response, localBody } = x;
  const given = readStatus(response);
  if (findGrpcType(response) >= 0) {
    if (given >= 0) x.grpcStatus = given;
    if (localBody?.length === 0) x.localBody = null;
    return;
  }
  response.removeKnown(1 << NAME["content-type"]);
  const text = localBody === null ? "" : localBody.toString("utf8", 0, Math.min(localBody.length, MAX_MESSAGE)).trim();
  const status = grpcOfHttp(response.status);
  if (given >= 0) {
    setCallHead(x);
    x.grpcStatus = given;
  } else setStatus(x, status);
  if (text !== "" && response.find(GRPC_MESSAGE, 0, GRPC_MESSAGE.length) < 0)
    response.add(GRPC_MESSAGE, encodeMessage(Buffer.from(text)), NAME.other);
}

function setStatus(x: Exchange, status: number): void {
  setCallHead(x);
  x.response.add(GRPC_STATUS, Buffer.from(String(status)), NAME.other);
  x.grpcStatus = status;
}

function setCallHead(x: Exchange): void {
  x.response.add(CONTENT_TYPE, GRPC_TYPE, NAME["content-type"]);
  x.response.status = x.localStatus = 200;
  x.localBody = null;
}

/** The trailers of a call that fails after its response has begun. */
export function makeTrailers(x: Exchange, error: ProxyError): Head {
  const trailers = new Head(TRAILERS, 2);
  x.grpcStatus = statusOf(x, error);
  trailers.add(GRPC_STATUS, Buffer.from(String(x.grpcStatus)), NAME.other);
  trailers.add(GRPC_MESSAGE, Buffer.from(reasonOf(error.status)), NAME.other);
  return trailers;
}
