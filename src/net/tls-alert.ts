/**
 * Fatal alerts for client certificates that are rejected. Node's verify callback accepts every certificate, so OpenSSL
 * completes the handshake and sends none; the proxy rejects before the last messages of OpenSSL were written, and writes
 * an alert in their place. Uses private parts of Node: the TCP handle of the TLS handle, and the event `keylog`, which
 * has the secret of this connection.
 */
import { createCipheriv, createHmac } from "node:crypto";
import { Socket } from "node:net";
import type { TLSSocket } from "node:tls";

/** RFC 8446 section 6.2. */
const HANDSHAKE_FAILURE = 40;
const CERTIFICATE_UNKNOWN = 46;
const CERTIFICATE_REQUIRED = 116;
/** Of the results of OpenSSL's verification, as OpenSSL's own servers select them. */
const ALERTS: ReadonlyMap<string, number> = new Map([
  ["CERT_NOT_YET_VALID", 42],
  ["CERT_REJECTED", 42],
  ["INVALID_PURPOSE", 43],
  ["CERT_REVOKED", 44],
  ["CERT_HAS_EXPIRED", 45],
  ["CRL_HAS_EXPIRED", 45],
  ["CERT_CHAIN_TOO_LONG", 48],
  ["CERT_UNTRUSTED", 48],
  ["DEPTH_ZERO_SELF_SIGNED_CERT", 48],
  ["INVALID_CA", 48],
  ["PATH_LENGTH_EXCEEDED", 48],
  ["SELF_SIGNED_CERT_IN_CHAIN", 48],
  ["UNABLE_TO_GET_CRL", 48],
  ["UNABLE_TO_GET_ISSUER_CERT", 48],
  ["UNABLE_TO_GET_ISSUER_CERT_LOCALLY", 48],
  ["UNABLE_TO_VERIFY_LEAF_SIGNATURE", 48],
  ["CERT_SIGNATURE_FAILURE", 51],
  ["CRL_SIGNATURE_FAILURE", 51],
]);

/** The record protection of TLS 1.3 suites (RFC 8446 appendix B.4). */
type Suite = { readonly cipher: string; readonly hash: string; readonly keySize: number };
const SUITES: ReadonlyMap<string, Suite> = new Map([
  ["TLS_AES_128_GCM_SHA256", { cipher: "aes-128-gcm", hash: "sha256", keySize: 16 }],
  ["TLS_AES_256_GCM_SHA384", { cipher: "aes-256-gcm", hash: "sha384", keySize: 32 }],
  ["TLS_CHACHA20_POLY1305_SHA256", { cipher: "chacha20-poly1305", hash: "sha256", keySize: 32 }],
]);
const NONCE = 12;
const TAG = 16;
const SECRET = /^SERVER_TRAFFIC_SECRET_0 [0-9a-f]+ ([0-9a-f]+)/;

/** For a client without a certificate: handshake_failure in TLS 1.2, which has no alert of its own for it. */
export function missingAlert(socket: TLSSocket): number {
  return socket.getProtocol() === "TLSv1.3" ? CERTIFICATE_REQUIRED : HANDSHAKE_FAILURE;
}

export function alertFor(verifyCode: string | undefined): number {
  return ALERTS.get(verifyCode ?? "") ?? CERTIFICATE_UNKNOWN;
}

/** Sends alerts of one connection, from the start of the handshake until the event `secure`. */
export class CertificateAlerts {
  readonly #socket: TLSSocket;
  /** Of the records of TLS 1.3 that follow the handshake. */
  #secret: Buffer | null = null;
  readonly #onKeylog = (line: Buffer): void => {
    const found = SECRET.exec(line.toString("latin1"));
    if (found !== null) this.#secret = Buffer.from(found[1]!, "hex");
  };

  constructor(socket: TLSSocket) {
    this.#socket = socket;
    socket.on("keylog", this.#onKeylog);
  }

  /** Forgets the secret. */
  close(): void {
    this.#socket.off("keylog", this.#onKeylog);
    this.#secret = null;
  }

  /**
   * Writes an alert as the last record and ends the write direction; call it in the event `secure`. Returns false if it
   * cannot: the caller then destroys the socket at once. OpenSSL would write its own next record with the same key and
   * nonce, so nothing may be written after the alert.
   */
  send(alert: number): boolean {
    const record = this.#record(Buffer.of(2, alert));
    const handle = (this.#socket as unknown as { _handle: { _parent?: unknown } | null })._handle?._parent;
    if (record === null || handle === undefined) return false;
    const raw = new Socket({ handle } as unknown as ConstructorParameters<typeof Socket>[0]);
    const internals = raw as unknown as { _handle: unknown; _final?: (ended: () => void) => void };
    raw.on("error", () => {
      // The client has closed; the caller reports the rejection.
    });
    if (typeof internals._final !== "function") return false;
    raw.write(record);
    // Not `end`, which shuts the handle down later.
    internals._final(() => undefined);
    // The handle is closed by the TLS socket.
    internals._handle = null;
    raw.destroy();
    return true;
  }

  #record(content: Buffer): Buffer | null {
    const socket = this.#socket;
    if (socket.getProtocol() === "TLSv1.3") {
      const suite = SUITES.get(socket.getCipher().standardName);
      return suite === undefined || this.#secret === null ? null : protect(content, this.#secret, suite);
    }
    // Not encrypted before the server's ChangeCipherSpec, which it sends first when a session is resumed.
    return socket.isSessionReused() ? null : Buffer.concat([Buffer.of(21, 3, 3, 0, content.length), content]);
  }
}

/** The first record with this secret that has an alert (RFC 8446 section 5.2): its sequence number is 0. */
function protect(content: Buffer, secret: Buffer, { cipher, hash, keySize }: Suite): Buffer {
  const header = Buffer.of(23, 3, 3, 0, content.length + 1 + TAG);
  const key = expand(secret, hash, "key", keySize);
  const nonce = expand(secret, hash, "iv", NONCE);
  const plaintextLength = content.length + 1;
  const sealed = createCipheriv(cipher as "aes-128-gcm", key, nonce, { authTagLength: TAG });
  sealed.setAAD(header, { plaintextLength });
  const text = sealed.update(Buffer.concat([content, Buffer.of(21)]));
  return Buffer.concat([header, text, sealed.final(), sealed.getAuthTag()]);
}

/** HKDF-Expand-Label with an empty context, of at most one block (RFC 8446 section 7.1). */
function expand(secret: Buffer, hash: string, label: string, size: number): Buffer {
  const name = `tls13 ${label}`;
  const info = Buffer.concat([Buffer.of(0, size, name.length), Buffer.from(name), Buffer.of(0, 1)]);
  return createHmac(hash, secret).update(info).digest().subarray(0, size);
}
