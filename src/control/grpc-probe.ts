/**
 * The protocol of gRPC's health checks (health-checking.md of gRPC) on a connection of its own: one call of
 * `grpc.health.v1.Health/Check`. What is read is bounded in size, and by the check's timeout in time.
 */

import { findGrpcType, GRPC, readStatus } from "../http/grpc.ts";
import { Head } from "../http/head.ts";
import { DEFAULT_WINDOW, FRAME, FRAME_FLAG, type FrameHandler, FrameReader } from "../http2/frames.ts";
import { HpackDecoder } from "../http2/hpack-decoder.ts";
import { PendingBuffer } from "../net/pending-buffer.ts";
import type { EndpointPlan, ProbePlan } from "../plan/plan.ts";
import { decodeHead, STREAM, writeRequest } from "./http2-probe.ts";

const TABLE_SIZE = 4096;
/** Bytes that are read at most, and of the message. */
const MAX_RECEIVED = DEFAULT_WINDOW;
const MAX_MESSAGE = 1024;
const MESSAGE_HEAD = 5;
/** Fields of a message of protobuf: a number and a type. `status` of HealthCheckResponse, `service` of the request. */
const STATUS_FIELD = 0x08;
const SERVICE_FIELD = 0x0a;
const VARINT = 0;
const LENGTH = 2;

const SERVING = 1;
const STATUSES = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];

export class GrpcProbe implements FrameHandler {
  readonly request: Buffer;
  readonly expectsResponse = true;
  readonly #service: string;
  readonly #reader = new FrameReader(this);
  readonly #decoder = new HpackDecoder(TABLE_SIZE);
  readonly #message = new PendingBuffer();
  #received = 0;
  #hasHead = false;
  /** `""`: healthy, a text: the problem; null: incomplete. */
  #result: string | null = null;

  constructor({ service, host }: ProbePlan & { kind: "grpc" }, endpoint: EndpointPlan, isTls: boolean) {
    this.#service = service;
    const authority = host || (endpoint.path === "" ? endpoint.address : "localhost");
    const fields: [string, string][] = [
      [":method", "POST"],
      [":scheme", isTls ? "https" : "http"],
      [":path", "/grpc.health.v1.Health/Check"],
      [":authority", authority],
      ["content-type", "application/grpc"],
      ["te", "trailers"],
      ["user-agent", "sluice-health-check"],
    ];
    this.request = writeRequest(fields, requestMessage(service));
  }

  receive(bytes: Buffer): string | null {
    this.#received += bytes.length;
    this.#reader.read(bytes, 0, bytes.length);
    if (this.#result === null && this.#received > MAX_RECEIVED) this.#result = `no response in ${MAX_RECEIVED} bytes`;
    return this.#result;
  }

  end(): string {
    return this.#result ?? "connection closed before a response";
  }

  frame(type: number, flags: number, stream: number, bytes: Buffer, start: number, end: number): boolean {
    if (type === FRAME.goAway) return this.#end("the endpoint closes the connection");
    if (type === FRAME.resetStream && stream === STREAM) return this.#end("the endpoint reset the call");
    if (type === FRAME.headers && stream === STREAM) return this.#headers(flags, bytes, start, end);
    // Nothing else changes the result, and a check is too short to acknowledge settings and pings.
    return true;
  }

  #headers(flags: number, bytes: Buffer, start: number, end: number): boolean {
    const head = new Head();
    const problem = decodeHead(this.#decoder, flags, bytes.subarray(start, end), head);
    if (problem !== "") return this.#end(problem);
    const status = head.get(":status");
    if (!this.#hasHead && status !== undefined && status.startsWith("1")) return true;
    if (!this.#hasHead && status !== "200") return this.#end(`status ${status}`);
    if (!this.#hasHead && findGrpcType(head) < 0) return this.#end("no response of gRPC");
    this.#hasHead = true;
    return (flags & FRAME_FLAG.endStream) === 0 || this.#evaluate(readStatus(head));
  }

  data(flags: number, stream: number, bytes: Buffer, start: number, end: number, length: number): boolean {
    if (stream !== STREAM) return true;
    if (this.#message.length + end - start > MAX_MESSAGE) return this.#end("a response that is too long");
    this.#message.append(bytes, start, end);
    // A response of gRPC ends with headers.
    return length >= 0 && (flags & FRAME_FLAG.endStream) !== 0 ? this.#end("a response without a status") : true;
  }

  malformed(_code: number, problem: string): void {
    this.#result ??= `invalid HTTP/2: ${problem}`;
  }

  #evaluate(grpcStatus: number): boolean {
    if (grpcStatus === GRPC.unimplemented) return this.#end("the endpoint has no health service");
    if (grpcStatus === GRPC.notFound) return this.#end(`unknown service ${JSON.stringify(this.#service)}`);
    if (grpcStatus !== GRPC.ok) return this.#end(`status ${grpcStatus} of gRPC`);
    const status = readServingStatus(this.#message.content);
    if (status < 0) return this.#end("an invalid message");
    return this.#end(status === SERVING ? "" : (STATUSES[status] ?? `health status ${status}`));
  }

  #end(result: string): boolean {
    this.#result ??= result;
    return false;
  }
}

/** HealthCheckRequest, with the head of a message of gRPC. */
function requestMessage(service: string): Buffer {
  const name = Buffer.from(service);
  const field = name.length === 0 ? name : Buffer.concat([Buffer.from([SERVICE_FIELD, ...varint(name.length)]), name]);
  const head = Buffer.alloc(MESSAGE_HEAD);
  head.writeUInt32BE(field.length, 1);
  return Buffer.concat([head, field]);
}

function varint(value: number): number[] {
  return value < 128 ? [value] : [(value & 0x7f) | 0x80, ...varint(value >> 7)];
}

/** The status of a HealthCheckResponse, with the head of a message; 0 without one, -1: malformed. */
function readServingStatus(message: Buffer): number {
  if (message.length < MESSAGE_HEAD || message[0] !== 0) return -1;
  if (message.readUInt32BE(1) !== message.length - MESSAGE_HEAD) return -1;
  let status = 0;
  for (let at = MESSAGE_HEAD; at < message.length; ) {
    const tag = message[at++]!;
    let value = 0;
    let shift = 0;
    for (; at < message.length && shift < 28; shift += 7) {
      const byte = message[at++]!;
      value |= (byte & 0x7f) << shift;
      if (byte < 128) break;
    }
    if ((tag & 7) === LENGTH) at += value;
    else if ((tag & 7) !== VARINT) return -1;
    else if (tag === STATUS_FIELD) status = value;
    if (at > message.length) return -1;
  }
  return status;
}
