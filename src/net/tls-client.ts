/** TLS to endpoints: verification, client certificates, and sessions that later connections resume. */
import { isIP, Socket } from "node:net";
import { type ConnectionOptions, connect, createSecureContext, type SecureContext, type TLSSocket } from "node:tls";

/** Plain data, posted to workers. */
export type TlsClientOptions = {
  /** Equal when nothing differs: the secure context and sessions are then shared. */
  readonly key: string;
  /** Verify the endpoint's certificate: its authority, dates and name. */
  readonly verify: boolean;
  /** Sent as SNI, and verified; empty: none is sent, and the address is verified. */
  readonly serverName: string;
  /** PEM; empty: Node's built-in authorities. */
  readonly ca: readonly string[];
  /** Revocation lists, one in each PEM. */
  readonly crl: readonly string[];
  /** The client certificate, sent if the endpoint requests one. */
  readonly certificate: { readonly cert: string; readonly key: string; readonly passphrase: string } | null;
};

type Target = { readonly path: string; readonly host: string; readonly port: number };

/** Protocols to offer by ALPN (RFC 7301), by preference. */
export const ALPN = { http1: ["http/1.1"], http2: ["h2"], auto: ["h2", "http/1.1"] } as const;
/** Maximum number of endpoints with a cached session, and of contexts. */
const MAX_SESSIONS = 1024;
const MAX_CLIENTS = 256;

export class TlsClient {
  readonly #options: TlsClientOptions;
  readonly #context: SecureContext;
  readonly #sessions = new Map<string, Buffer>();

  /** @throws Error if OpenSSL refuses the certificate. */
  constructor(options: TlsClientOptions) {
    const { ca, crl, certificate } = options;
    this.#options = options;
    this.#context = createSecureContext({
      minVersion: "TLSv1.2",
      ...(ca.length > 0 && { ca: [...ca] }),
      ...(crl.length > 0 && { crl: [...crl] }),
      ...(certificate !== null && certificate),
    });
  }

  /**
   * Starts connecting; the event `secureConnect` follows. `onread`: as of `net.Socket`; `protocols`: for ALPN.
   * `header`: sent first, in plain text; the socket then ignores `onread`. Null: nothing.
   */
  connect(
    { host, port, path }: Target,
    onread: unknown,
    protocols: readonly string[] = ALPN.http1,
    header: Buffer | null = null,
  ): TLSSocket {
    const { verify, serverName } = this.#options;
    const id = `${protocols.join()} ${path === "" ? `${host} ${port}` : path}`;
    const session = this.#sessions.get(id);
    const address = path === "" ? { host, port } : { path };
    const options = {
      ...(header === null ? address : { host, socket: connectPlain(address, header) }),
      secureContext: this.#context,
      rejectUnauthorized: verify,
      ...(protocols.length > 0 && { ALPNProtocols: [...protocols] }),
      allowHalfOpen: true,
      noDelay: true,
      ...(serverName !== "" && isIP(serverName) === 0 && { servername: serverName }),
      ...(session !== undefined && { session }),
      ...(onread !== undefined && { onread }),
    };
    const socket = connect(options as ConnectionOptions);
    socket.once("error", clarify);
    socket.on("session", (given: Buffer) => this.#keep(id, given));
    return socket;
  }

  #keep(id: string, session: Buffer): void {
    this.#sessions.delete(id);
    this.#sessions.set(id, session);
    if (this.#sessions.size > MAX_SESSIONS) this.#sessions.delete(this.#sessions.keys().next().value!);
  }
}

/** A socket that connects and sends the header. The TLS socket over it reports its errors. */
function connectPlain(address: { host: string; port: number } | { path: string }, header: Buffer): Socket {
  const socket = new Socket({ allowHalfOpen: true });
  socket.setNoDelay(true);
  socket.connect(address);
  // Queued until it is connected, and before what TLS then sends.
  socket.write(header);
  return socket;
}

/** OpenSSL's reason without thread and source file. Of an unknown authority, where it belongs, not Node's advice. */
function clarify(error: Error & { readonly reason?: string }): void {
  const { reason, message } = error;
  error.message =
    reason ?? message.replace(/; if the root CA .*$/, "; expected its authority in `tls.ca` of the cluster");
}

const clients = new Map<string, TlsClient>();

/** The client with these options, one on each thread. */
export function tlsClient(options: TlsClientOptions): TlsClient {
  const client = clients.get(options.key) ?? new TlsClient(options);
  clients.delete(options.key);
  clients.set(options.key, client);
  if (clients.size > MAX_CLIENTS) clients.delete(clients.keys().next().value!);
  return client;
}
