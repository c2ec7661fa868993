/**
 * Reads the header of the PROXY protocol, versions 1 (text) and 2 (binary), by which a load balancer in front reports the
 * client's address and, in TLVs, further facts about its connection. Pure; bounded by `MAX_HEADER` bytes and `MAX_TLVS`.
 * The specification: https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt
 */
import { readAddress } from "./address.ts";
import { crc32c } from "./crc32c.ts";

/** What a header reports about a connection. */
export type ProxyFacts = {
  readonly version: 1 | 2;
  /** LOCAL: the sender's own connection, such as a health check. The addresses are those of the connection itself. */
  readonly isLocal: boolean;
  /** Normalised addresses; empty if the header has none (LOCAL, UNKNOWN, Unix sockets). The ports are then 0. */
  readonly source: string;
  readonly sourcePort: number;
  readonly destination: string;
  readonly destinationPort: number;
  readonly tlvs: readonly Tlv[];
  /** The TLV about the client's TLS connection to the sender; null without one. */
  readonly ssl: ProxySsl | null;
};

/** Of a connection that began with a header. */
export type Proxied = ProxyFacts & {
  /** The address of the sender, the connection's peer; empty for a Unix socket. */
  readonly peer: string;
};

export type Tlv = { readonly type: number; readonly value: Buffer };

export type ProxySsl = {
  /** Bits of SSL_CLIENT. */
  readonly client: number;
  /** 0: the sender has verified the client's certificate. */
  readonly verify: number;
  readonly tlvs: readonly Tlv[];
};

/** Types of TLVs, and of the TLVs within that of TLS. */
export const TLV = { alpn: 0x01, authority: 0x02, crc32c: 0x03, noop: 0x04, uniqueId: 0x05, ssl: 0x20 } as const;
export const SSL_TLV = { version: 0x21, commonName: 0x22, cipher: 0x23 } as const;
export const SSL_CLIENT = { tls: 1, certificate: 2, certificateInSession: 4 } as const;

const SIGNATURE_V1 = Buffer.from("PROXY ");
export const SIGNATURE_V2 = Buffer.from("\r\n\r\n\0\r\nQUIT\n", "latin1");

/** Bytes of a header of version 2. HAProxy may add the client's certificate to it. */
export const MAX_HEADER = 16 * 1024;
export const MAX_TLVS = 128;
/** Bytes of a line of version 1, with its CRLF. */
const MAX_LINE = 107;
const MAX_UNIQUE_ID = 128;
/** Signature, version and command, family and transport, length. */
export const FIXED = 16;
/** Bytes of addresses by family: unspecified, IPv4, IPv6, Unix. */
const ADDRESS_BYTES = [0, 12, 36, 216];

const LF = 10;
const CR = 13;

/**
 * `more`: the bytes so far are the beginning of a header. `none`: they do not begin like one. `invalid`: they do, but are
 * no valid header; `problem` says why. `done`: a header that ends at `end`.
 */
export type ProxyRead =
  | { readonly state: "more" | "none" }
  | { readonly state: "invalid"; readonly problem: string }
  | { readonly state: "done"; readonly facts: ProxyFacts; readonly end: number };

const MORE: ProxyRead = { state: "more" };
const NONE: ProxyRead = { state: "none" };

/** Reads a header at the start of `bytes[start, end)`. */
export function readProxyHeader(bytes: Buffer, start: number, end: number): ProxyRead {
  if (start === end) return MORE;
  if (begins(bytes, start, end, SIGNATURE_V2)) return end - start < FIXED ? MORE : readBinary(bytes, start, end);
  if (begins(bytes, start, end, SIGNATURE_V1)) return readText(bytes, start, end);
  return NONE;
}

/** Whether the bytes are the beginning of `signature`, or begin with it. */
function begins(bytes: Buffer, start: number, end: number, signature: Buffer): boolean {
  const length = Math.min(end - start, signature.length);
  return bytes.compare(signature, 0, length, start, start + length) === 0;
}

function invalid(problem: string): ProxyRead {
  return { state: "invalid", problem };
}

// ── Version 1 ─────────────────────────────────────────────────────────────────────────────────────────────────────────

function readText(bytes: Buffer, start: number, end: number): ProxyRead {
  const most = Math.min(end, start + MAX_LINE);
  const lf = bytes.subarray(start, most).indexOf(LF);
  if (lf < 0) return most === start + MAX_LINE ? invalid(`no end of line in ${MAX_LINE} bytes`) : MORE;
  if (bytes[start + lf - 1] !== CR) return invalid("the line ends without CR");
  const line = bytes.toString("latin1", start + SIGNATURE_V1.length, start + lf - 1);
  const facts = readLine(line);
  if (facts === null) return invalid("malformed line of version 1");
  return { state: "done", facts, end: start + lf + 1 };
}

function readLine(line: string): ProxyFacts | null {
  // The rest of such a line is to be ignored.
  if (line === "UNKNOWN" || line.startsWith("UNKNOWN ")) return factsOf(1, NO_ADDRESSES);
  const [family, source = "", destination = "", sourcePort = "", destinationPort = "", more] = line.split(" ");
  const isIPv6 = family === "TCP6";
  if ((!isIPv6 && family !== "TCP4") || more !== undefined) return null;
  if (source.includes(":") !== isIPv6 || destination.includes(":") !== isIPv6) return null;
  const addresses = {
    source: readAddress(source),
    destination: readAddress(destination),
    sourcePort: readPort(sourcePort),
    destinationPort: readPort(destinationPort),
  };
  if (addresses.source === "" || addresses.destination === "") return null;
  return addresses.sourcePort < 0 || addresses.destinationPort < 0 ? null : factsOf(1, addresses);
}

/** -1: it is none. */
function readPort(text: string): number {
  return /^(?:0|[1-9]\d{0,4})$/.test(text) && Number(text) <= 65_535 ? Number(text) : -1;
}

// ── Version 2 ─────────────────────────────────────────────────────────────────────────────────────────────────────────

function readBinary(bytes: Buffer, start: number, end: number): ProxyRead {
  const command = bytes[start + 12]!;
  if (command >> 4 !== 2) return invalid(`version ${command >> 4}`);
  if ((command & 15) > 1) return invalid(`unknown command ${command & 15}`);
  const length = bytes.readUInt16BE(start + 14);
  if (FIXED + length > MAX_HEADER) return invalid(`${FIXED + length} bytes, over the limit of ${MAX_HEADER}`);
  const stop = start + FIXED + length;
  if (end < stop) return MORE;
  // Everything behind the length is to be ignored.
  if ((command & 15) === 0) return { state: "done", facts: { ...factsOf(2, NO_ADDRESSES), isLocal: true }, end: stop };
  const family = bytes[start + 13]! >> 4;
  const transport = bytes[start + 13]! & 15;
  const size = ADDRESS_BYTES[family];
  if (size === undefined || transport > 2) return invalid(`unknown family ${family} or transport ${transport}`);
  if (size > length) return invalid(`${length} bytes are too short for the addresses`);
  const tlvs = readTlvs(bytes, start + FIXED + size, stop);
  if (tlvs === null) return invalid("malformed or too many TLVs");
  const problem = checkTlvs(tlvs, bytes, start, stop);
  if (problem !== "") return invalid(problem);
  const ssl = readSsl(tlvs.find(({ type }) => type === TLV.ssl));
  if (ssl === undefined) return invalid("malformed TLV about TLS");
  const facts = factsOf(2, readAddresses(bytes, start + FIXED, family), copyTlvs(tlvs), ssl);
  return { state: "done", facts, end: stop };
}

type Addresses = Pick<ProxyFacts, "source" | "destination" | "sourcePort" | "destinationPort">;
const NO_ADDRESSES: Addresses = { source: "", sourcePort: 0, destination: "", destinationPort: 0 };

function factsOf(
  version: 1 | 2,
  addresses: Addresses,
  tlvs: readonly Tlv[] = [],
  ssl: ProxySsl | null = null,
): ProxyFacts {
  return { version, isLocal: false, ...addresses, tlvs, ssl };
}

function readAddresses(bytes: Buffer, at: number, family: number): Addresses {
  if (family !== 1 && family !== 2) return NO_ADDRESSES;
  const size = family === 1 ? 4 : 16;
  const text = family === 1 ? textOfIPv4 : textOfIPv6;
  return {
    source: readAddress(text(bytes, at)),
    destination: readAddress(text(bytes, at + size)),
    sourcePort: bytes.readUInt16BE(at + 2 * size),
    destinationPort: bytes.readUInt16BE(at + 2 * size + 2),
  };
}

function textOfIPv4(bytes: Buffer, at: number): string {
  return bytes.subarray(at, at + 4).join(".");
}

function textOfIPv6(bytes: Buffer, at: number): string {
  return Array.from({ length: 8 }, (_, i) => bytes.readUInt16BE(at + 2 * i).toString(16)).join(":");
}

/** Null: malformed, or more than MAX_TLVS. The values are views of `bytes`. */
function readTlvs(bytes: Buffer, start: number, end: number): Tlv[] | null {
  const tlvs: Tlv[] = [];
  for (let at = start; at < end; ) {
    if (at + 3 > end || tlvs.length === MAX_TLVS) return null;
    const stop = at + 3 + bytes.readUInt16BE(at + 1);
    if (stop > end) return null;
    tlvs.push({ type: bytes[at]!, value: bytes.subarray(at + 3, stop) });
    at = stop;
  }
  return tlvs;
}

/** Checks the checksum and the lengths that the specification fixes. Returns the problem, or "". */
function checkTlvs(tlvs: readonly Tlv[], bytes: Buffer, start: number, end: number): string {
  const sums = tlvs.filter(({ type }) => type === TLV.crc32c);
  if (sums.length > 1) return "several checksums";
  const [sum] = sums;
  if (sum !== undefined) {
    const { value } = sum;
    if (value.length !== 4) return "malformed checksum";
    const at = value.byteOffset - bytes.byteOffset;
    if (crc32c(bytes, start, end, at) !== value.readUInt32BE()) return "wrong checksum (CRC32C)";
  }
  return tlvs.some(({ type, value }) => type === TLV.uniqueId && value.length > MAX_UNIQUE_ID)
    ? `a unique id over ${MAX_UNIQUE_ID} bytes`
    : "";
}

/** Null: there is none. Undefined: it is malformed. */
function readSsl(tlv: Tlv | undefined): ProxySsl | null | undefined {
  if (tlv === undefined) return null;
  const { value } = tlv;
  if (value.length < 5) return undefined;
  const tlvs = readTlvs(value, 5, value.length);
  return tlvs === null ? undefined : { client: value[0]!, verify: value.readUInt32BE(1), tlvs: copyTlvs(tlvs) };
}

/** The TLVs whose values are kept: the bytes themselves are those of a shared buffer. */
function copyTlvs(tlvs: readonly Tlv[]): Tlv[] {
  return tlvs
    .filter(({ type }) => type !== TLV.noop && type !== TLV.crc32c && type !== TLV.ssl)
    .map(({ type, value }) => ({ type, value: Buffer.from(value) }));
}
