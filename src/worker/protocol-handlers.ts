/** Makes the protocol's handler of each accepted connection. */
import { DETECTED_PROTOCOLS, LISTENER_CELLS } from "../observe/series.ts";
import { ServerConnection } from "../protocol/http1/server-connection.ts";
import { Http2Connection } from "../protocol/http2/server-connection.ts";
import { TcpConnection } from "../protocol/tcp/tcp-connection.ts";
import type { WorkerContext } from "../proxy/context.ts";
import type { Pipeline } from "../proxy/pipeline.ts";
import type { Accepted, Port, ServerHandler } from "../proxy/port.ts";
import { type HandlerMakers, ProtocolStart } from "./protocol-start.ts";

export class ProtocolHandlers implements HandlerMakers {
  readonly #context: WorkerContext;
  readonly #pipeline: Pipeline;

  constructor(context: WorkerContext, pipeline: Pipeline) {
    this.#context = context;
    this.#pipeline = pipeline;
  }

  /** The handler of an admitted connection: by ALPN over TLS, by its first bytes without. */
  make(accepted: Accepted): ServerHandler {
    const { connection, port, passed } = accepted;
    const { plan } = port.state!;
    if (plan.protocol === "tcp" || passed !== null) return this.makeTcp(accepted);
    if (connection.tls?.protocol) return this.makeHttp(accepted, connection.tls.protocol === "h2");
    const detectsTcp = plan.protocol === "auto" && plan.relay !== null;
    if (connection.tls !== null && !detectsTcp) return this.makeHttp(accepted, false);
    return new ProtocolStart(accepted, this, detectsTcp);
  }

  makeHttp(accepted: Accepted, isHttp2: boolean): ServerHandler {
    this.#detected(accepted.port, isHttp2 ? "http2" : "http1");
    return isHttp2
      ? new Http2Connection(this.#context, this.#pipeline, accepted)
      : new ServerConnection(this.#context, this.#pipeline, accepted);
  }

  makeTcp(accepted: Accepted): ServerHandler {
    this.#detected(accepted.port, accepted.passed?.hello == null ? "tcp" : "tls");
    return new TcpConnection(this.#context, this.#pipeline, accepted);
  }

  internal(error: unknown): void {
    this.#pipeline.internal(null, error);
  }

  #detected({ state }: Port, protocol: (typeof DETECTED_PROTOCOLS)[number]): void {
    const { plan } = state!;
    if (plan.protocol !== "auto") return;
    this.#context.cells[plan.cells + LISTENER_CELLS.detected + DETECTED_PROTOCOLS.indexOf(protocol)]!++;
  }
}
