/**
 * The tunnels of one worker. A tunnel has released its exchange and its snapshot: it keeps a copy of the data of its access
 * log line, and counts as a request in flight of its endpoint, whose slot is therefore not reused
 * (`worker/slots-in-use.ts`).
 */
import { HOOK } from "../abi/abi.ts";
import { Head } from "../http/head.ts";
import { VERSION } from "../http/protocol.ts";
import { isWebSocket } from "../http/upgrade.ts";
import { WebSocketFrames } from "../http/websocket.ts";
import {
  type Received,
  Tunnel,
  type TunnelConnection,
  type TunnelEnd,
  type TunnelOptions,
  type TunnelOwner,
} from "../net/tunnel.ts";
import type { AccessRecord } from "../observe/access-record.ts";
import type { WorkerContext } from "./context.ts";
import type { Exchange } from "./exchange.ts";
import type { Port } from "./port.ts";

/** Reasons that are logged: failures other than those of clients. */
const LOGGED: readonly TunnelEnd[] = ["endpoint_reset", "idle_timeout", "evicted", "internal"];

/** Longest idle timeout of a half-closed upgraded connection, ms. */
const HALF_CLOSED_IDLE = 30_000;

/** Tunnels that are reported at most. */
const MAX_LISTED = 100;

/** An open tunnel, as reported to the main thread. */
export type TunnelRecord = {
  readonly listener: string;
  readonly cluster: string;
  readonly endpoint: string;
  readonly client: string;
  readonly protocol: string;
  /** Milliseconds since 1970. */
  readonly openedAt: number;
  readonly bytesReceived: number;
  readonly bytesSent: number;
};

/** The connections of a tunnel, its limits, and the bytes received before. */
type Relay = Pick<TunnelOptions, "client" | "endpoint" | "idle" | "lifetime"> & {
  readonly port: Port;
  readonly fromClient: Received;
  readonly fromEndpoint: Received;
};
type Framed = Pick<TunnelOptions, "halfClosedIdle" | "frames">;

/** What a UDP session reports to its tunnel. */
export type RelayedTunnel = Pick<TunnelOwner, "relayed" | "ended">;

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

export class Tunnels {
  /** Time limit for a draining tunnel, ms. */
  grace = 0;
  readonly #context: WorkerContext;
  readonly #internal: (error: unknown) => void;
  /** Oldest first. */
  readonly #open = new Set<OpenTunnel>();

  constructor(context: WorkerContext, internal: (error: unknown) => void) {
    this.#context = context;
    this.#internal = internal;
  }

  /** Called after the 101 was sent. `received`: the bytes that the client sent after its request. */
  open(x: Exchange, client: TunnelConnection, port: Port, received: Received): void {
    const { attempt, cluster, upgrade } = x;
    this.#begin(x, {
      client,
      endpoint: attempt.upgraded!,
      port,
      idle: cluster!.plan.timeouts.tunnel,
      halfClosedIdle: HALF_CLOSED_IDLE,
      lifetime: 0,
      frames: isWebSocket(upgrade!)
        ? { fromClient: new WebSocketFrames(true), fromEndpoint: new WebSocketFrames(false) }
        : null,
      fromClient: received,
      fromEndpoint: { bytes: attempt.body!, start: attempt.bodyStart, end: attempt.bodyEnd },
    });
  }

  /** Relays a TCP connection. A half-closed one has the same idle timeout: it may wait for a long response. */
  relay(x: Exchange, relay: Relay): void {
    this.#begin(x, { ...relay, halfClosedIdle: relay.idle, frames: null });
  }

  /** Adds a UDP session, which calls `relayed` and `ended` of the returned tunnel. `drain`: ends the session. */
  openSession(x: Exchange, port: Port, drain: () => void): RelayedTunnel {
    const owner = new OpenTunnel(this, this.#context, x, port);
    owner.relay = { drain };
    this.#open.add(owner);
    port.tunnelOpened(owner);
    return owner;
  }

  #begin(x: Exchange, { port, fromClient, fromEndpoint, ...options }: Relay & Framed): void {
    const owner = new OpenTunnel(this, this.#context, x, port);
    const tunnel = new Tunnel({ ...options, owner, buffers: this.#context.buffers });
    owner.relay = tunnel;
    this.#open.add(owner);
    port.tunnelOpened(owner);
    tunnel.begin(fromClient, fromEndpoint);
    if (port.draining || x.listener!.snapshot.removed.has(owner.slot)) tunnel.drain();
  }

  /** Number of open tunnels, and the oldest 100. */
  list(): { open: number; oldest: TunnelRecord[] } {
    const oldest = this.#open.values().take(MAX_LISTED);
    return { open: this.#open.size, oldest: Array.from(oldest, (tunnel) => tunnel.describe()) };
  }

  /** Slots of the endpoints in use. */
  get slots(): Iterable<number> {
    return Array.from(this.#open, ({ slot }) => slot);
  }

  /** Drains the tunnels to endpoints for which `isRemoved` returns true. */
  drainEndpoints(isRemoved: (slot: number) => boolean): void {
    for (const { slot, relay } of this.#open) if (isRemoved(slot)) relay!.drain();
  }

  remove(tunnel: OpenTunnel): void {
    this.#open.delete(tunnel);
  }

  internal(error: unknown): void {
    this.#internal(error);
  }
}

const TCP = Buffer.from("tcp");
const UDP = Buffer.from("udp");
/** Of a TCP connection, and of a UDP session: shared, because they stay empty. */
const NO_HEAD = new Head();
NO_HEAD.version = VERSION.tcp;
const NO_DATAGRAM_HEAD = new Head();
NO_DATAGRAM_HEAD.version = VERSION.udp;

class OpenTunnel implements TunnelOwner {
  readonly slot: number;
  /** Milliseconds since 1970. */
  readonly openedAt: number;
  relay: { drain(): void } | null = null;
  readonly #tunnels: Tunnels;
  readonly #context: WorkerContext;
  readonly #port: Port;
  readonly #labels: { readonly listener: string; readonly cluster: string; readonly endpoint: string };
  readonly #client: string;
  readonly #protocol: Buffer;
  /** Null while there is no access log. */
  readonly #record: Mutable<AccessRecord> | null;
  #received = 0;
  #sent = 0;

  constructor(tunnels: Tunnels, context: WorkerContext, x: Exchange, port: Port) {
    const { address, slot } = x.endpoint!;
    this.slot = slot;
    this.openedAt = context.clock.wall;
    this.#tunnels = tunnels;
    this.#context = context;
    this.#port = port;
    this.#labels = { listener: x.listenerName, cluster: x.clusterName, endpoint: address };
    this.#client = x.clientAddress;
    this.#protocol = x.upgrade?.text ?? (port.state!.plan.protocol === "udp" ? UDP : TCP);
    this.#record = context.accessLog.enabled ? recordOf(x) : null;
    context.columns.addInFlight(context.worker, slot, 1);
  }

  get grace(): number {
    return this.#tunnels.grace;
  }

  describe(): TunnelRecord {
    return {
      ...this.#labels,
      client: this.#client,
      protocol: this.#protocol.toString("latin1"),
      openedAt: this.openedAt,
      bytesReceived: this.#received,
      bytesSent: this.#sent,
    };
  }

  relayed(fromClient: number, fromEndpoint: number): void {
    this.#received += fromClient;
    this.#sent += fromEndpoint;
    this.#port.relayed(fromClient, fromEndpoint);
  }

  ended(reason: TunnelEnd, cause: string): void {
    const { columns, worker, accessLog, warnings } = this.#context;
    columns.addInFlight(worker, this.slot, -1);
    this.#tunnels.remove(this);
    this.#port.tunnelEnded(this, reason, Math.max(0, this.#context.clock.wall - this.openedAt));
    const record = this.#record;
    if (record !== null) {
      record.bytesReceived = this.#received;
      record.bytesSent = this.#sent;
      record.error = { code: reason };
      accessLog.line(record, performance.now());
    }
    const { cluster, endpoint } = this.#labels;
    // The end of UDP sessions is not announced: the idle timeout is their usual one.
    if (reason === "idle_timeout" && this.#protocol === UDP) return;
    if (LOGGED.includes(reason) && warnings.admits("tunnel_ended", `${cluster} ${endpoint} ${reason}`))
      warnings.write("a tunnel ended unexpectedly", { ...this.#labels, reason, cause });
  }

  broken(error: unknown): void {
    this.#tunnels.internal(error);
  }
}

/** Copies the data of the access log line. `log` hooks, which run later, may add fields. */
function recordOf(x: Exchange): AccessRecord {
  if (((x.listener!.hooks | x.route!.hooks) & (1 << HOOK.log)) !== 0) x.logFields ??= new Map();
  let noHead: Head | null = null;
  if (x.upgrade === null) noHead = x.request.version === VERSION.udp ? NO_DATAGRAM_HEAD : NO_HEAD;
  const { clientAddress, listenerName, routeName, clusterName, attempts, startedAt, headAt } = x;
  const { respondedAt, latency } = x.attempt;
  return {
    request: noHead ?? x.request.copy(),
    response: noHead ?? x.response.copy(),
    original: x.original.slice(),
    clientAddress,
    client: { peer: x.client!.peer, tls: x.tls, connection: { proxied: x.proxied } },
    listener: { snapshot: { version: x.listener!.snapshot.version } },
    scheme: x.scheme,
    listenerName,
    routeName,
    clusterName,
    endpoint: { address: x.endpoint!.address },
    attempts,
    startedAt,
    headAt,
    attempt: { startedAt: x.attempt.startedAt, respondedAt, latency, version: x.attempt.version },
    bytesReceived: 0,
    bytesSent: 0,
    error: null,
    localStatus: 0,
    isGrpc: false,
    grpcStatus: -1,
    respondedBy: x.respondedBy,
    logFields: x.logFields,
  };
}
