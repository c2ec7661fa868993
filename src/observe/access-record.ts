/** What a line of the access log is written from: a request that has ended, or a connection's or stream's of another protocol. */
import type { Head } from "../http/head.ts";
import type { Scheme } from "../http/protocol.ts";

export interface AccessRecord {
  readonly request: Head;
  readonly response: Head;
  /** As the client used it. */
  readonly scheme: Scheme;
  /** Parts of the request's start line as received, before plugins changed them. */
  readonly original: Uint32Array;
  /** The client's address; a trusted proxy's word for it where there is one. */
  readonly clientAddress: string;
  /** The other end of the connection; null where there was none. */
  readonly client: { readonly peer: string } | null;
  readonly listener: { readonly snapshot: { readonly version: number } } | null;
  readonly listenerName: string;
  readonly routeName: string;
  readonly clusterName: string;
  readonly endpoint: { readonly address: string } | null;
  readonly attempts: number;
  /** `performance.now()` at the first byte received, and when the request head was complete. */
  readonly startedAt: number;
  readonly headAt: number;
  /** The last attempt: `performance.now()` at its begin and at the response head (0: none), and microseconds up to that. */
  readonly attempt: { readonly startedAt: number; readonly respondedAt: number; readonly latency: number };
  readonly bytesReceived: number;
  readonly bytesSent: number;
  /** Why the response is a local one; null when it is not, or a plugin's. */
  readonly error: { readonly code: string } | null;
  /** Status of a local response; 0 when it is the endpoint's. */
  readonly localStatus: number;
  /** The plugin that responded, rejected or failed. */
  readonly respondedBy: string;
  /** Fields that plugins add. */
  readonly logFields: ReadonlyMap<string, string> | null;
}
