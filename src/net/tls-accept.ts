/**
 * TLS on accepted sockets. Like `accept.ts`, this file alone uses private parts of Node: `_wrapHandle` of TLSSocket, by
 * which a TLS socket reads a handle into our own buffer (`onread`); its public constructor drops that option when it is
 * given a socket. Without it, or with SLUICE_ACCEPT=public, the public constructor is used, with the same behaviour. Both
 * ways `_releaseControl`, the event `secure` and `setOCSPResponse` are used as `tls.Server` uses them.
 */
import type { Socket } from "node:net";
import { type SecureContext, TLSSocket } from "node:tls";
import type { Connection } from "./connection.ts";
import { alertFor, CertificateAlerts, missingAlert } from "./tls-alert.ts";
import type { TlsFacts } from "./tls-facts.ts";
import { HandshakeError, type TlsServerOptions } from "./tls-server.ts";

/** RFC 7301 protocol names, each after its length. HTTP/1.0 is what `curl --http1.0` offers. */
const PROTOCOLS = Buffer.from("\x02h2\x08http/1.1\x08http/1.0", "latin1");

type Handle = {
  receive(bytes: Buffer): void;
  verifyError(): { code?: string; message: string } | null;
  /** Sent if the client asks for it. */
  setOCSPResponse?(response: Uint8Array): void;
};
type Internals = {
  _handle: Handle | null;
  _tlsOptions: { accepted: unknown };
  _wrapHandle(wrap: null, handle: unknown, hasWrites: boolean): unknown;
  _releaseControl(): boolean;
  connecting: boolean;
};
type Options = ConstructorParameters<typeof TLSSocket>[1] & { accepted?: unknown; onread?: unknown };

const internals = TLSSocket.prototype as unknown as Internals;
const wrapHandle = internals._wrapHandle;

const wrapsHandles = typeof wrapHandle === "function";

class AcceptedSocket extends TLSSocket {
  /** Called by the constructor, which would make a new handle for a socket that is to connect. */
  protected _wrapHandle(): unknown {
    const self = this as unknown as Internals;
    return wrapHandle.call(self, null, self._tlsOptions.accepted, false);
  }
}

/** The protocol of a validation by TLS-ALPN-01 (RFC 8737). */
const ACME_PROTOCOL = Buffer.from("\x0aacme-tls/1", "latin1");

export type Handshake = {
  readonly options: TlsServerOptions;
  readonly context: SecureContext;
  /** The OCSP response for its certificate, or null. */
  readonly staple: Uint8Array | null;
  /** By ALPN: HTTP/2 and HTTP/1; nothing; or that of TLS-ALPN-01, where no client certificate is requested. */
  readonly protocols: "http" | "none" | "acme";
  /** The bytes received so far. */
  readonly hello: Buffer;
  /** Called when the handshake is complete and the client's certificate is accepted; `connection.tls` is set. */
  readonly secured: () => void;
  /** Called when the client's certificate is rejected and the alert was sent; the caller closes the connection. */
  readonly rejected: (error: HandshakeError) => void;
};

/**
 * Begins the handshake of a connection whose ClientHello was read. `context` is chosen before, since Node's own choice
 * by SNI keeps those certificates of the first context that have keys of another type.
 */
export function secure(connection: Connection, handshake: Handshake): void {
  const { options, protocols, staple, hello } = handshake;
  const { socket: before } = connection;
  const isOwn = connection.readsHandle && wrapsHandles;
  let socket: TLSSocket;
  if (isOwn) socket = secureHandle(before, connection, optionsOf(handshake));
  else {
    before.pause();
    before.removeAllListeners("data");
    before.unshift(hello);
    socket = new TLSSocket(before, optionsOf(handshake));
  }
  // Node's event `OCSPRequest` needs a `tls.Server`.
  if (staple !== null) (socket as unknown as Internals)._handle?.setOCSPResponse?.(staple);
  connection.replaceSocket(socket, !isOwn);
  const alerts = options.clients === null || protocols === "acme" ? null : new CertificateAlerts(socket);
  socket.once("secure", () => connection.guard(() => complete(socket, alerts, connection, handshake)));
  if (isOwn) (socket as unknown as Internals)._handle!.receive(hello);
  else socket.resume();
}

function complete(
  socket: TLSSocket,
  alerts: CertificateAlerts | null,
  connection: Connection,
  { options, secured, rejected }: Handshake,
): void {
  if (socket.destroyed) return;
  // From now on errors are reported by the event `error`.
  (socket as unknown as Internals)._releaseControl();
  const rejection = alerts === null ? null : rejectionOf(socket, options);
  const isSent = rejection !== null && alerts!.send(rejection.alert);
  alerts?.close();
  if (rejection !== null) {
    const error = new HandshakeError("client_certificate", rejection.cause);
    if (isSent) return rejected(error);
    return void socket.destroy(error);
  }
  connection.tls = factsOf(socket, options);
  secured();
}

/** Takes the handle of `before`, which is unusable afterwards. */
function secureHandle(before: Socket, connection: Connection, options: Options): TLSSocket {
  const owner = before as unknown as { _handle: unknown };
  const handle = owner._handle as Record<symbol, unknown>;
  owner._handle = null;
  const more = { accepted: handle, allowHalfOpen: true, onread: connection.makeReads() };
  const socket = new AcceptedSocket(undefined as unknown as Socket, { ...options, ...more } as Options);
  (socket as unknown as Internals).connecting = false;
  // The handle refers to its socket and would keep the unused one: 4 KiB for each connection.
  for (const symbol of Object.getOwnPropertySymbols(handle)) if (handle[symbol] === before) handle[symbol] = socket;
  return socket;
}

function optionsOf({ options: { clients }, context, protocols }: Handshake): Options {
  return {
    isServer: true,
    secureContext: context,
    requestCert: clients !== null && protocols !== "acme",
    // Checked when the handshake is complete, so that the reason can be logged and sent.
    rejectUnauthorized: false,
    ...(protocols !== "none" && { ALPNProtocols: protocols === "http" ? PROTOCOLS : ACME_PROTOCOL }),
  } as Options;
}

/** Returns why the client's certificate is rejected; null if it is accepted, or none is required. */
function rejectionOf(socket: TLSSocket, { clients }: TlsServerOptions): { alert: number; cause: string } | null {
  const certificate = socket.getPeerX509Certificate();
  // OpenSSL reports success for a session of TLS 1.3 that was resumed without a certificate.
  if (certificate === undefined)
    return clients!.required ? { alert: missingAlert(socket), cause: "the client sent no certificate" } : null;
  const error = (socket as unknown as Internals)._handle!.verifyError();
  if (error !== null)
    return { alert: alertFor(error.code), cause: `the client's certificate was rejected: ${error.message}` };
  // It may have expired since the session began.
  if (Date.parse(certificate.validTo) >= Date.now()) return null;
  return { alert: alertFor("CERT_HAS_EXPIRED"), cause: "the client's certificate has expired" };
}

function factsOf(socket: TLSSocket, { clients }: TlsServerOptions): TlsFacts {
  const found = socket as { servername?: string | false | null; alpnProtocol: string | false | null };
  const client = clients === null ? undefined : socket.getPeerX509Certificate();
  return {
    serverName: (found.servername || "").toLowerCase(),
    version: socket.getProtocol() ?? "",
    cipher: socket.getCipher().standardName,
    protocol: found.alpnProtocol || "",
    // Node returns one name per line, escaped, from the country down.
    clientSubject: client?.subject.split("\n").reverse().join(",") ?? "",
    clientNames: client?.subjectAltName ?? "",
    clientFingerprint: client?.fingerprint256.replaceAll(":", "").toLowerCase() ?? "",
  };
}
