/**
 * The protocol of gRPC's health checks (health-checking.md of gRPC) on a connection of its own: one call of
 * `grpc.health.v1.Health/Check`. What is read is bounded in size, and by the check's timeout in time.
 */

import { findGrpcType, GRPC, readStatus } from "../http/grpc.ts";
import type { Head } from "../http/head.ts";
import { PendingBuffer } from "../net/pending-buffer.ts";
import type { EndpointPlan, ProbePlan } from "../plan/plan.ts";
import { ProbeCall } from "./probe-call.ts";

/** Bytes of the message that are read at most. */
const MAX_MESSAGE = 1024;
const MESSAGE_HEAD = 5;
/** Fields of a message of protobuf: a number and a type. `status` of HealthCheckResponse, `service` of the request. */
const STATUS_FIELD = 0x08;
const SERVICE_FIELD = 0x0a;
const VARINT = 0;
const LENGTH = 2;

const SERVING = 1;
const STATUSES = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];

export class GrpcProbe extends ProbeCall {
  readonly #service: string;
  readonly #message = new PendingBuffer();

  constructor({ service, host }: ProbePlan & { kind: "grpc" }, endpoint: EndpointPlan, isTls: boolean) {
    const fields: [string, string][] = [
      [":method", "POST"],
      [":scheme", isTls ? "https" : "http"],
      [":path", "/grpc.health.v1.Health/Check"],
      [":authority", host || (endpoint.path === "" ? endpoint.address : "localhost")],
      ["content-type", "application/grpc"],
      ["te", "trailers"],
      ["user-agent", "sluice-health-check"],
    ];
    super(fields, requestMessage(service));
    this.#service = service;
  }

  protected override headers(head: Head, ends: boolean): string | null {
    const status = head.get(":status");
    if (!this.hasHead && status?.startsWith("1")) return null;
    if (!this.hasHead && status !== "200") return `status ${status}`;
    if (!this.hasHead && findGrpcType(head) < 0) return "no response of gRPC";
    this.hasHead = true;
    return ends ? this.#evaluate(readStatus(head)) : null;
  }

  protected override body(bytes: Buffer, start: number, end: number, ends: boolean): string | null {
    if (this.#message.length + end - start > MAX_MESSAGE) return "a response that is too long";
    this.#message.append(bytes, start, end);
    // A response of gRPC ends with headers.
    return ends ? "a response without a status" : null;
  }

  #evaluate(grpcStatus: number): string {
    if (grpcStatus === GRPC.unimplemented) return "the endpoint has no health service";
    if (grpcStatus === GRPC.notFound) return `unknown service ${JSON.stringify(this.#service)}`;
    if (grpcStatus !== GRPC.ok) return `status ${grpcStatus} of gRPC`;
    const status = readServingStatus(this.#message.content);
    if (status < 0) return "an invalid message";
    return status === SERVING ? "" : (STATUSES[status] ?? `health status ${status}`);
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
