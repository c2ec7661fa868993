/** The input of an access log line: a request that has ended, or a connection of another protocol. */
import type { Head } from "../http/head.ts";
import type { Scheme } from "../http/protocol.ts";
import type { Proxied } from "../net/proxy-protocol.ts";
import type { TlsFacts } from "../net/tls-facts.ts";

export interface AccessRecord {
  readonly request: Head;
  readonly response: Head;
  /** As the client used it. */
  readonly scheme: Scheme;
  /** Parts of the request's start line as received, before plugins changed them. */
  readonly original: Uint32Array;
  /** The client's address: of the peer, or as reported by a trusted proxy. */
  readonly clientAddress: string;
  /** The peer of the connection; null without one. */
  readonly client: {
    readonly peer: string;
    readonly tls: TlsFacts | null;
    readonly connection: { readonly proxied: Proxied | null } | null;
  } | null;
  readonly listener: { readonly snapshot: { readonly version: number } } | null;
  readonly listenerName: string;
  readonly routeName: string;
  readonly clusterName: string;
  readonly endpoint: { readonly address: string } | null;
  readonly attempts: number;
  /** `performance.now()` at the first byte received, and when the request head was complete. */
  readonly startedAt: number;
  readonly headAt: number;
  /** Of the last attempt: `performance.now()` at start and head (0: none), microseconds between, version (-1: none). */
  readonly attempt: {
    readonly startedAt: number;
    readonly respondedAt: number;
    readonly latency: number;
    readonly version: number;
  };
  readonly bytesReceived: number;
  readonly bytesSent: number;
  /** The error of a local response; null for responses of endpoints and plugins. */
  readonly error: { readonly code: string } | null;
  /** Status of a local response; 0: the response is the endpoint's. */
  readonly localStatus: number;
  /** It is a gRPC call, and its status; -1: none. */
  readonly isGrpc: boolean;
  readonly grpcStatus: number;
  /** The plugin that responded, rejected or failed. */
  readonly respondedBy: string;
  /** Fields that plugins add. */
  readonly logFields: ReadonlyMap<string, string> | null;
}
