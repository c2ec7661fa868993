/**
 * Writes PROXY protocol headers for connections to endpoints: about the client's connection, with TLVs in version 2, or
 * about a connection of the proxy's own (LOCAL). What a load balancer in front has reported about the client is passed on
 * where this proxy does not know better: it has seen the client's TLS only if it terminates it.
 */
import { randomUUID } from "node:crypto";
import { isIPv6 } from "node:net";
import { readPeer } from "./address.ts";
import type { Connection } from "./connection.ts";
import { crc32c } from "./crc32c.ts";
import { FIXED, MAX_HEADER, SIGNATURE_V2, SSL_CLIENT, SSL_TLV, TLV, type Tlv } from "./proxy-protocol.ts";
import { findTlv } from "./proxy-values.ts";
import type { TlsFacts } from "./tls-facts.ts";

export const PROXY_TLVS = ["authority", "alpn", "ssl", "unique-id", "crc32c"] as const;

/** Plain data, posted to workers. `tlvs`: for version 2. */
export type ProxyHeaderOptions = { readonly version: 1 | 2; readonly tlvs: readonly (typeof PROXY_TLVS)[number][] };

type Client = Pick<Connection, "peerAddress" | "proxied" | "tls" | "socket">;

/**
 * A header about the connection of a client; null: about one of the proxy's own, such as a health check. `serverName`: in
 * the ClientHello, also of a connection whose TLS is passed through.
 */
export function makeProxyHeader({ version, tlvs }: ProxyHeaderOptions, client: Client | null, serverName = ""): Buffer {
  const addresses = client === null ? null : addressesOf(client);
  if (version === 1) return Buffer.from(lineOf(addresses), "latin1");
  if (client === null) return headerOf(0, 0, Buffer.alloc(0));
  const values = tlvs.flatMap((name) => tlvsOf(name, client, serverName));
  const hasSum = tlvs.includes("crc32c");
  const rest = writeTlvs(values);
  const header = binaryOf(addresses, hasSum ? Buffer.concat([rest, SUM]) : rest);
  if (hasSum) header.writeUInt32BE(crc32c(header, 0, header.length), header.length - 4);
  return header;
}

/** The TLV of the checksum, last and to be filled in. */
const SUM = Buffer.from([TLV.crc32c, 0, 4, 0, 0, 0, 0]);

type Addresses = {
  readonly source: string;
  readonly sourcePort: number;
  readonly destination: string;
  readonly destinationPort: number;
};

/** Null if the client's address is unknown. */
function addressesOf({ peerAddress, proxied, socket }: Client): Addresses | null {
  if (proxied !== null && proxied.source !== "") return proxied;
  if (peerAddress === "") return null;
  const { remotePort = 0, localAddress = "", localPort = 0 } = socket;
  const destination = readPeer(localAddress);
  return destination === ""
    ? null
    : { source: peerAddress, sourcePort: remotePort, destination, destinationPort: localPort };
}

function lineOf(addresses: Addresses | null): string {
  if (addresses === null) return "PROXY UNKNOWN\r\n";
  const { source, destination, sourcePort, destinationPort } = addresses;
  const isSix = isIPv6(source);
  // Addresses of two families cannot be written; a proxy in front may report such.
  if (isIPv6(destination) !== isSix) return "PROXY UNKNOWN\r\n";
  return `PROXY TCP${isSix ? 6 : 4} ${source} ${destination} ${sourcePort} ${destinationPort}\r\n`;
}

/** `rest`: the TLVs. */
function binaryOf(addresses: Addresses | null, rest: Buffer): Buffer {
  if (addresses === null) return headerOf(1, 0, rest);
  const { source, destination, sourcePort, destinationPort } = addresses;
  const isSix = isIPv6(source) || isIPv6(destination);
  const ports = Buffer.alloc(4);
  ports.writeUInt16BE(sourcePort, 0);
  ports.writeUInt16BE(destinationPort, 2);
  const both = [source, destination].map((address) => (isSix ? bytesOfIPv6(address) : bytesOfIPv4(address)));
  return headerOf(1, isSix ? 0x21 : 0x11, Buffer.concat([...both, ports, rest]));
}

function headerOf(command: 0 | 1, family: number, rest: Buffer): Buffer {
  const header = Buffer.alloc(FIXED + rest.length);
  SIGNATURE_V2.copy(header);
  header[12] = 0x20 | command;
  header[13] = family;
  header.writeUInt16BE(rest.length, 14);
  rest.copy(header, FIXED);
  return header;
}

function bytesOfIPv4(address: string): Buffer {
  return Buffer.from(address.split(".").map(Number));
}

function bytesOfIPv6(address: string): Buffer {
  if (!isIPv6(address)) return Buffer.concat([Buffer.from("00000000000000000000ffff", "hex"), bytesOfIPv4(address)]);
  // At the end there may be an IPv4 address in dotted form.
  const dotted = /(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(address);
  const [a, b, c, d] = dotted === null ? [] : dotted.slice(1).map(Number);
  const text = dotted === null ? address : `${address.slice(0, dotted.index)}${groupOf(a!, b!)}:${groupOf(c!, d!)}`;
  const [head = "", tail = ""] = text.split("::");
  const [left, right] = [head, tail].map((part) => (part === "" ? [] : part.split(":"))) as [string[], string[]];
  const zeros = Array.from({ length: 8 - left.length - right.length }, () => "0");
  const bytes = Buffer.alloc(16);
  for (const [i, group] of [...left, ...zeros, ...right].entries())
    bytes.writeUInt16BE(Number.parseInt(group, 16), 2 * i);
  return bytes;
}

function groupOf(high: number, low: number): string {
  return (high * 256 + low).toString(16);
}

// ── TLVs ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Most bytes of all TLVs but the checksum, so that a header is within MAX_HEADER. Those beyond it are left out. */
const MOST = MAX_HEADER - 1024;

function writeTlvs(tlvs: readonly Tlv[]): Buffer {
  const parts: Buffer[] = [];
  let size = 0;
  for (const { type, value } of tlvs) {
    if (size + 3 + value.length > MOST) continue;
    size += 3 + value.length;
    parts.push(Buffer.from([type, value.length >> 8, value.length & 255]), value);
  }
  return Buffer.concat(parts);
}

function tlvsOf(name: (typeof PROXY_TLVS)[number], client: Client, serverName: string): Tlv[] {
  const { tls, proxied } = client;
  switch (name) {
    case "authority":
      return tlvOf(TLV.authority, serverName, client);
    case "alpn":
      return tlvOf(TLV.alpn, tls?.protocol ?? "", client);
    case "unique-id":
      return tlvOf(TLV.uniqueId, receivedOf(client, TLV.uniqueId) === null ? uniqueIdOf(client) : "", client);
    case "ssl": {
      if (tls !== null) return [{ type: TLV.ssl, value: describeTls(tls) }];
      const ssl = proxied === null ? null : proxied.ssl;
      if (ssl === null) return [];
      return [{ type: TLV.ssl, value: sslOf(ssl.client, ssl.verify, ssl.tlvs) }];
    }
    case "crc32c":
      return [];
  }
}

/** `text`, or if it is empty what was received. */
function tlvOf(type: number, text: string, client: Client): Tlv[] {
  const value = text === "" ? receivedOf(client, type) : Buffer.from(text);
  return value === null ? [] : [{ type, value }];
}

function receivedOf({ proxied }: Client, type: number): Buffer | null {
  return proxied === null ? null : findTlv(proxied.tlvs, type);
}

const uniqueIds = new WeakMap<object, string>();

/** Of the client's connection: the same for every endpoint. */
function uniqueIdOf(client: Client): string {
  return uniqueIds.getOrInsertComputed(client, () => randomUUID());
}

/** The connections here verify every certificate of a client: one that is present is valid. */
function describeTls({ version, cipher, clientSubject, clientFingerprint }: TlsFacts): Buffer {
  const isCertified = clientFingerprint !== "";
  const commonName = isCertified ? commonNameOf(clientSubject) : "";
  const bits = SSL_CLIENT.tls | (isCertified ? SSL_CLIENT.certificate | SSL_CLIENT.certificateInSession : 0);
  const texts: [number, string][] = [
    [SSL_TLV.version, version],
    [SSL_TLV.commonName, commonName],
    [SSL_TLV.cipher, cipher],
  ];
  const tlvs = texts.filter(([, text]) => text !== "").map(([type, text]) => ({ type, value: Buffer.from(text) }));
  return sslOf(bits, isCertified ? 0 : 1, tlvs);
}

function sslOf(client: number, verify: number, tlvs: readonly Tlv[]): Buffer {
  const fixed = Buffer.alloc(5);
  fixed[0] = client;
  fixed.writeUInt32BE(verify, 1);
  return Buffer.concat([fixed, writeTlvs(tlvs)]);
}

/** The most specific common name of a subject in the form of RFC 4514, which begins with it. */
function commonNameOf(subject: string): string {
  const [, value = ""] = /(?:^|[,+])CN=((?:\\.|[^\\,+])*)/.exec(subject) ?? [];
  return value.replace(/\\(.)/g, "$1");
}
