/** A health check's request over HTTP/2. */
import type { Head } from "../http/head.ts";
import { readResponse } from "../http2/response-head.ts";
import type { EndpointPlan, ProbePlan } from "../plan/plan.ts";
import { ProbeCall } from "./probe-call.ts";

export class Http2Probe extends ProbeCall {
  readonly #plan: ProbePlan & { kind: "http" };

  constructor(plan: ProbePlan & { kind: "http" }, endpoint: EndpointPlan, isTls: boolean) {
    super([
      [":method", plan.method],
      [":scheme", isTls ? "https" : "http"],
      [":path", plan.path],
      [":authority", plan.host || (endpoint.path === "" ? endpoint.address : "localhost")],
      ["user-agent", "sluice-health-check"],
      ["accept", "*/*"],
    ]);
    this.#plan = plan;
  }

  protected override headers(head: Head, ends: boolean): string | null {
    // Trailers.
    if (this.hasHead) return ends ? "" : "invalid HTTP/2: trailers without an end";
    const fault = readResponse(head, this.#plan.method === "HEAD", ends);
    if (fault !== "") return `invalid HTTP/2: ${fault}`;
    const { status } = head;
    if (status < 200) return null;
    if (!this.#plan.statuses.some(({ least, most }) => status >= least && status <= most)) return `status ${status}`;
    this.hasHead = true;
    return ends ? "" : null;
  }

  protected override body(_bytes: Buffer, _start: number, _end: number, ends: boolean): string | null {
    if (!this.hasHead) return "invalid HTTP/2: a body before the response's head";
    return ends ? "" : null;
  }

  /** A longer body is not read to its end, and the endpoint is healthy. */
  protected override overlong(): string {
    return this.hasHead ? "" : super.overlong();
  }
}
