/**
 * The record of one request on its way: taken from the thread's free list when a head is complete, given back when the
 * response has ended. Every field is set in the constructor, so that all exchanges share one shape.
 */

import type { Endpoint } from "../balance/endpoint.ts";
import type { EndpointView } from "../balance/endpoint-view.ts";
import { Head } from "../http/head.ts";

/** Where in the corridor an exchange stands (`pipeline.ts`). */
export const PHASE = {
  idle: 0,
  request: 1,
  route: 2,
  pick: 3,
  forward: 4,
  awaiting: 5,
  response: 6,
  body: 7,
  done: 8,
} as const;

export class Exchange {
  /** A number that no other exchange of this thread has while it lives; the `exchange` argument of hooks. Never 0. */
  id = 0;
  phase: number = PHASE.idle;

  readonly request = new Head();
  readonly response = new Head();
  requestTrailers: Head | null = null;
  responseTrailers: Head | null = null;

  /** The client's address as text: the peer's, or by X-Forwarded-For when the peer is a trusted proxy. */
  clientAddress = "";
  listenerName = "";
  /** Empty until a route matched. */
  routeName = "";
  /** Empty until a cluster is chosen. */
  clusterName = "";
  /** The endpoint tried last. */
  endpoint: Endpoint | null = null;
  /** Attempts begun. */
  attempts = 0;

  /** Index into the plan's clusters that a plugin chose, or -1. */
  chosenCluster = -1;
  /** Index into the plan's strategy names (`Snapshot.strategyNames`) that a plugin chose, or -1. */
  chosenStrategy = -1;

  /** An answer of a plugin or of Sluice itself: its status, 0 when there is none. Its head is `response`. */
  localStatus = 0;
  localBody: Buffer | null = null;

  /** Endpoints of the pick under way. */
  candidates: EndpointView | null = null;
  /** Values kept from hook to hook, by plugin and key: `${plugin}\0${key}`. */
  values: Map<string, Uint8Array> | null = null;
  /** Instances whose remaining hooks are dropped for this exchange (`onFailure: skip`), by instance index. */
  skipped: Set<number> | null = null;

  /** performance.now() at the request's first byte, and at the answer's head (0: none yet). */
  startedAt = 0;
  answeredAt = 0;
  bytesReceived = 0;
  bytesSent = 0;

  /** The attempt that `outcome` tells of. */
  attemptLatency = 0;
  attemptStatus = 0;
  attemptFailed = false;
}
