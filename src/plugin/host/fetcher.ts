/** What the plugin host needs of whoever makes requests for plugins. */
import type { Head } from "../../http/head.ts";
import type { EndpointTarget } from "./hook-context.ts";

/** A request that was checked. */
export type FetchRequest = {
  /** `cluster:NAME`, an origin: `https://keys.example.com`, or `endpoint`. */
  readonly target: string;
  /** The endpoint that is meant by the last: the one under check. */
  readonly endpoint: EndpointTarget | null;
  /** The complete head in HTTP/1.1: request line, Host and fields, without those that frame the message. */
  readonly head: Buffer;
  readonly body: Buffer;
  /** Milliseconds for all of it, and bytes of the answer's body at most. */
  readonly timeout: number;
  readonly most: number;
};

export type FetchResponse = { readonly head: Head; readonly body: Buffer };

/** Bytes to be said to the endpoint under check. */
export type ProbeRequest = {
  readonly endpoint: EndpointTarget;
  readonly send: Buffer;
  /** What the answer must hold to be whole; empty: the endpoint ends it. */
  readonly until: Buffer;
  /** Bytes of the answer at most, and milliseconds for all of it. */
  readonly most: number;
  readonly timeout: number;
};

export interface Fetcher {
  /** Tells the answer or a status below zero, once; what it returns gives the request up, and nothing is told. */
  send(request: FetchRequest, done: (answer: FetchResponse | number) => void): () => void;
  /** The same of bytes without a protocol, over a connection of its own. */
  probe(request: ProbeRequest, done: (answer: Buffer | number) => void): () => void;
}
