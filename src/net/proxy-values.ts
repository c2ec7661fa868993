/** The facts of a PROXY protocol header by name, as text: for access logs. Plugins read TLVs by their numbers. */
import { isIPv6 } from "node:net";
import { type Proxied, SSL_CLIENT, SSL_TLV, TLV, type Tlv } from "./proxy-protocol.ts";

/** TLVs with a name; `skip`: leading bytes of the value that are not part of it. */
const NAMED: Readonly<Record<string, { readonly type: number; readonly skip: number; readonly isSsl?: true }>> = {
  alpn: { type: TLV.alpn, skip: 0 },
  authority: { type: TLV.authority, skip: 0 },
  unique_id: { type: TLV.uniqueId, skip: 0 },
  netns: { type: 0x30, skip: 0 },
  ssl_version: { type: SSL_TLV.version, skip: 0, isSsl: true },
  ssl_cn: { type: SSL_TLV.commonName, skip: 0, isSsl: true },
  ssl_cipher: { type: SSL_TLV.cipher, skip: 0, isSsl: true },
  /** The id of a VPC endpoint of AWS, after its subtype. */
  vpce_id: { type: 0xea, skip: 1 },
};

/** Names for `proxyValue`, besides `tlv_XX` with the hexadecimal number of a TLV. */
export const PROXY_VALUES: readonly string[] = ["peer", "version", "destination", ...Object.keys(NAMED)];
const NUMBERED = /^tlv_([0-9a-f]{2})$/;

export function isProxyValue(name: string): boolean {
  return PROXY_VALUES.includes(name) || NUMBERED.test(name);
}

/** The value of a TLV, of which the first counts; null without one. */
export function findTlv(tlvs: readonly Tlv[], type: number): Buffer | null {
  for (const tlv of tlvs) if (tlv.type === type) return tlv.value;
  return null;
}

/** A TLV about the client's TLS connection. Those of a certificate that was not verified count as absent. */
export function findSslTlv({ ssl }: Proxied, type: number): Buffer | null {
  if (ssl === null) return null;
  const isVerified =
    ssl.verify === 0 && (ssl.client & (SSL_CLIENT.certificate | SSL_CLIENT.certificateInSession)) !== 0;
  return isVerified || !OF_CERTIFICATE.includes(type) ? findTlv(ssl.tlvs, type) : null;
}

/** Its common name, and itself. */
const OF_CERTIFICATE: readonly number[] = [SSL_TLV.commonName, 0x28];

/** Empty if the header does not have it. A TLV that is no printable text is shown in hexadecimal. */
export function proxyValue(proxied: Proxied, name: string): string {
  switch (name) {
    case "peer":
      return proxied.peer || "unix";
    case "version":
      return String(proxied.version);
    case "destination":
      return destinationOf(proxied);
    default:
      return showBytes(tlvByName(proxied, name));
  }
}

/** `192.0.2.1:443`, `[2001:db8::1]:443`; empty without one. */
export function destinationOf({ destination, destinationPort }: Proxied): string {
  if (destination === "") return "";
  return `${isIPv6(destination) ? `[${destination}]` : destination}:${destinationPort}`;
}

function tlvByName(proxied: Proxied, name: string): Buffer | null {
  const named = NAMED[name];
  if (named === undefined) return findTlv(proxied.tlvs, Number.parseInt(NUMBERED.exec(name)![1]!, 16));
  const { type, skip, isSsl } = named;
  const value = isSsl === true ? findSslTlv(proxied, type) : findTlv(proxied.tlvs, type);
  return value === null ? null : value.subarray(skip);
}

/** Most bytes of a value in a log. */
const MOST_SHOWN = 256;

function showBytes(value: Buffer | null): string {
  if (value === null) return "";
  const shown = value.subarray(0, MOST_SHOWN);
  for (const byte of shown) if (byte < 0x20 || byte > 0x7e) return shown.toString("hex");
  return shown.toString("latin1");
}
