/** Completes subrequests and probes of a plugin under test by functions of the test. */
import type { FetchRequest, FetchResponse, PluginOptions } from "../../sdk/test.js";
import { STATUS } from "../abi/abi.ts";
import { Head, PART } from "../http/head.ts";
import { scanRequest } from "../http1/scan.ts";
import type {
  Fetcher,
  ProbeRequest as HostProbe,
  FetchRequest as HostRequest,
  FetchResponse as HostResponse,
} from "../plugin/host/fetcher.ts";
import { fillResponse, LIMITS, readFields } from "./messages.ts";
import type { TestTime } from "./time.ts";

type Complete = Parameters<Fetcher["send"]>[1];
/** A response or a STATUS, after `delay` ms; undefined: none. */
type Given<T> = { readonly response: T | number; readonly delay: number } | undefined;

export class TestFetcher implements Fetcher {
  readonly #fetch: PluginOptions["fetch"];
  readonly #probe: PluginOptions["probe"];
  readonly #time: TestTime;
  /** The response if the test has no `fetch`. */
  fallback: FetchResponse | null = null;
  #error: { readonly thrown: unknown } | null = null;

  constructor({ fetch, probe }: Pick<PluginOptions, "fetch" | "probe">, time: TestTime) {
    this.#fetch = fetch;
    this.#probe = probe;
    this.#time = time;
  }

  /** Throws the error of a `fetch` or `probe` of the test, which fails the test regardless of the plugin. */
  throwError(): void {
    const error = this.#error;
    this.#error = null;
    if (error !== null) throw error.thrown;
  }

  send(request: HostRequest, complete: Complete): () => void {
    return this.#begin(this.#runFetch(request), request.timeout, complete);
  }

  probe(request: HostProbe, complete: (response: Buffer | number) => void): () => void {
    return this.#begin(this.#runProbe(request), request.timeout, complete);
  }

  /** Completes with the response of the test, or with `timedOut`. */
  #begin<T>(pending: Promise<Given<T>>, timeout: number, complete: (response: T | number) => void): () => void {
    const { after } = this.#time;
    let done = false;
    const end = (response: T | number): void => {
      if (done) return;
      done = true;
      stopTimer();
      complete(response);
    };
    const stopTimer = after(timeout, () => end(STATUS.timedOut));
    this.#time.pauseUntil(
      pending.then(
        (given) => void (given === undefined ? undefined : after(given.delay, () => end(given.response))),
        (thrown: unknown) => {
          this.#error ??= { thrown };
          end(STATUS.unreachable);
        },
      ),
    );
    return () => {
      done = true;
      stopTimer();
    };
  }

  async #runProbe({ endpoint, send, until, most, timeout }: HostProbe): Promise<Given<Buffer>> {
    const described = { address: endpoint.address, send: send.toString(), until: until.toString(), timeout };
    if (this.#probe === undefined)
      throw new TypeError(`the plugin probes ${described.address}, and plugin() has no option probe`);
    const given = await this.#probe(described);
    if (given === undefined) return undefined;
    if (given === null) return { response: STATUS.unreachable, delay: 0 };
    const bytes = Buffer.from(given as string);
    return { response: bytes.length > most ? STATUS.tooLarge : bytes, delay: 0 };
  }

  async #runFetch(request: HostRequest): Promise<Given<HostResponse>> {
    const described = readRequest(request);
    if (this.#fetch === undefined && this.fallback === null)
      throw new TypeError(`the plugin sends ${described.method} ${described.url}, and plugin() has no option fetch`);
    const given = this.#fetch === undefined ? this.fallback : await this.#fetch(described);
    return given === null ? { response: STATUS.unreachable, delay: 0 } : makeResponse(given, request.most);
  }
}

function makeResponse({ body = "", delay = 0, ...response }: FetchResponse, most: number) {
  const head = new Head();
  fillResponse(head, response);
  const bytes = Buffer.from(body as string);
  return { response: bytes.length > most ? STATUS.tooLarge : { head, body: bytes }, delay };
}

function readRequest({ target, head: bytes, body, timeout }: HostRequest): FetchRequest {
  const head = new Head();
  scanRequest(bytes, 0, bytes.length, head, LIMITS);
  const query = head.partText(PART.query);
  return {
    method: head.partText(PART.method),
    url: `${target}${head.partText(PART.path)}${query === "" ? "" : `?${query}`}`,
    ...readFields(head),
    body: body.toString("utf8"),
    // A copy: the body is in the plugin's memory.
    bytes: Uint8Array.from(body),
    timeout,
  };
}
