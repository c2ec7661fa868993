/** An endpoint of a cluster in one snapshot. Its slot and its pool outlive the snapshot. */
import type { TlsClientOptions } from "../net/tls-client.ts";
import type { EndpointPlan } from "../plan/plan.ts";

export class Endpoint {
  readonly address: string;
  readonly host: string;
  readonly port: number;
  readonly path: string;
  readonly slot: number;
  /** 32-bit FNV-1a hash of the address text, signed; the same in every process. */
  readonly hash: number;
  weight: number;
  readonly zone: string;
  readonly zoneHash: number;
  readonly cells: number;
  /** TLS of its cluster; null: plain. */
  readonly tls: TlsClientOptions | null;

  /** The PROXY protocol header of connections that are not a client's; null: none. */
  readonly proxyHeader: Buffer | null;

  constructor(plan: EndpointPlan, tls: TlsClientOptions | null = null, proxyHeader: Buffer | null = null) {
    this.tls = tls;
    this.proxyHeader = proxyHeader;
    this.address = plan.address;
    this.host = plan.host;
    this.port = plan.port;
    this.path = plan.path;
    this.slot = plan.slot;
    this.hash = fnv1a(plan.address);
    this.weight = plan.weight;
    this.zone = plan.zone;
    this.zoneHash = plan.zone === "" ? 0 : fnv1a(plan.zone);
    this.cells = plan.cells;
  }
}

/** 32-bit FNV-1a hash of the text's UTF-8 bytes, as a signed integer. */
function fnv1a(text: string): number {
  let hash = 0x811c9dc5;
  for (const byte of Buffer.from(text, "utf8")) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash | 0;
}
