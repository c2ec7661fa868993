/** The interface by which the plugin host sends subrequests and probes. */
import type { Head } from "../../http/head.ts";
import type { EndpointTarget } from "./hook-context.ts";

/** A validated subrequest. */
export type FetchRequest = {
  /** `cluster:NAME`, an origin (`https://keys.example.com`), or `endpoint`. */
  readonly target: string;
  /** For the target `endpoint`: the endpoint under check. */
  readonly endpoint: EndpointTarget | null;
  /** The complete HTTP/1.1 head: request line, Host and other headers, without framing headers. */
  readonly head: Buffer;
  readonly body: Buffer;
  /** Milliseconds for the whole exchange, and most bytes of the response's body. */
  readonly timeout: number;
  readonly most: number;
};

export type FetchResponse = { readonly head: Head; readonly body: Buffer };

/** Bytes to send to the endpoint under check. */
export type ProbeRequest = {
  readonly endpoint: EndpointTarget;
  readonly send: Buffer;
  /** The response is complete when it contains this; empty: when the endpoint ends the connection. */
  readonly until: Buffer;
  /** Most bytes of the response, and milliseconds for the whole exchange. */
  readonly most: number;
  readonly timeout: number;
};

export interface Fetcher {
  /** Calls `done` once with the response or a status below zero. The returned function cancels it silently. */
  send(request: FetchRequest, done: (result: FetchResponse | number) => void): () => void;
  /** Like `send`, for bytes without HTTP over a new connection. */
  probe(request: ProbeRequest, done: (result: Buffer | number) => void): () => void;
}
