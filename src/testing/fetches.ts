/** Requests of a plugin under test, which the test answers. */
import type { FetchRequest, FetchResponse, PluginOptions } from "../../sdk/test.js";
import { STATUS } from "../abi/abi.ts";
import { Head, PART } from "../http/head.ts";
import { scanRequest } from "../http1/scan.ts";
import type { Fetcher, ProbeRequest as HostProbe, FetchRequest as HostRequest } from "../plugin/host/fetcher.ts";
import { fillAnswer, LIMITS, readFields } from "./messages.ts";
import type { TestTime } from "./time.ts";

type Tell = Parameters<Fetcher["send"]>[1];

export class TestFetcher implements Fetcher {
  readonly #answer: PluginOptions["fetch"];
  readonly #probe: PluginOptions["probe"];
  readonly #time: TestTime;
  /** Answers where the test does not. */
  standIn: FetchResponse | null = null;
  #error: { readonly thrown: unknown } | null = null;

  constructor({ fetch, probe }: Pick<PluginOptions, "fetch" | "probe">, time: TestTime) {
    this.#answer = fetch;
    this.#probe = probe;
    this.#time = time;
  }

  /** A test that cannot answer has failed, whatever the plugin makes of it. */
  throwError(): void {
    const error = this.#error;
    this.#error = null;
    if (error !== null) throw error.thrown;
  }

  send(request: HostRequest, tell: Tell): () => void {
    const { after } = this.#time;
    let told = false;
    const end: Tell = (answer) => {
      if (told) return;
      told = true;
      stopTimer();
      tell(answer);
    };
    const stopTimer = after(request.timeout, () => end(STATUS.timedOut));
    this.#time.hold(
      this.#make(request).then(
        ({ answer, delay }) => void after(delay, () => end(answer)),
        (thrown: unknown) => {
          this.#error ??= { thrown };
          end(STATUS.unreachable);
        },
      ),
    );
    return () => {
      told = true;
      stopTimer();
    };
  }

  probe(request: HostProbe, tell: (answer: Buffer | number) => void): () => void {
    const { after } = this.#time;
    let over = false;
    const end = (answer: Buffer | number): void => {
      if (over) return;
      over = true;
      stopTimer();
      tell(answer);
    };
    const stopTimer = after(request.timeout, () => end(STATUS.timedOut));
    const asked = this.#speak(request).then(
      // What is never answered is silence: the time alone ends it.
      (answer) => void (answer === undefined ? undefined : after(0, () => end(answer))),
      (thrown: unknown) => {
        this.#error ??= { thrown };
        end(STATUS.unreachable);
      },
    );
    this.#time.hold(asked);
    return () => {
      over = true;
      stopTimer();
    };
  }

  async #speak({ endpoint, send, until, most, timeout }: HostProbe): Promise<Buffer | number | undefined> {
    const seen = { address: endpoint.address, send: send.toString(), until: until.toString(), timeout };
    if (this.#probe === undefined)
      throw new TypeError(`the plugin probes ${seen.address}, and plugin() was given no probe to answer it`);
    const given = await this.#probe(seen);
    if (given === undefined) return undefined;
    if (given === null) return STATUS.unreachable;
    const bytes = Buffer.from(given as string);
    return bytes.length > most ? STATUS.tooLarge : bytes;
  }

  async #make(request: HostRequest): Promise<{ answer: Parameters<Tell>[0]; delay: number }> {
    const seen = readRequest(request);
    if (this.#answer === undefined && this.standIn === null)
      throw new TypeError(`the plugin sends ${seen.method} ${seen.url}, and plugin() was given no fetch to answer it`);
    const given = this.#answer === undefined ? this.standIn : await this.#answer(seen);
    return given === null ? { answer: STATUS.unreachable, delay: 0 } : makeAnswer(given, request.most);
  }
}

function makeAnswer({ body = "", delay = 0, ...response }: FetchResponse, most: number) {
  const head = new Head();
  fillAnswer(head, response);
  const bytes = Buffer.from(body as string);
  return { answer: bytes.length > most ? STATUS.tooLarge : { head, body: bytes }, delay };
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
    // The plugin's memory does not stand behind it.
    bytes: Uint8Array.from(body),
    timeout,
  };
}
