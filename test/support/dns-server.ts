/** A DNS server on loopback, UDP and TCP, with records set by a test. */
import { createSocket } from "node:dgram";
import { createServer, type Socket } from "node:net";

export type Service = {
  readonly priority: number;
  readonly weight: number;
  readonly port: number;
  readonly name: string;
};

export type Zone = {
  /** IPv4 and IPv6 addresses by name. A name that is not here does not exist. */
  addresses: Map<string, readonly string[]>;
  services: Map<string, readonly Service[]>;
  /** Seconds. */
  ttl: number;
  /** Instead of the records: no response at all, or SERVFAIL. */
  failure: "silent" | "servfail" | null;
  /** Names for which the response is SERVFAIL. */
  failing: Set<string>;
};

const TYPE = { A: 1, AAAA: 28, SRV: 33 } as const;
const NXDOMAIN = 3;
const SERVFAIL = 2;
/** Without EDNS; a longer response is truncated, and queried again over TCP. */
const MAX_UDP = 512;

export class DnsServer {
  readonly zone: Zone = { addresses: new Map(), services: new Map(), ttl: 0, failure: null, failing: new Set() };
  /** Queries so far, by name. */
  readonly asked = new Map<string, number>();
  address = "";
  #close: () => void = () => undefined;

  async start(): Promise<this> {
    const tcp = createServer((socket) => this.#serve(socket));
    await new Promise<void>((resolve) => tcp.listen(0, "127.0.0.1", resolve));
    const { port } = tcp.address() as { port: number };
    const udp = createSocket("udp4");
    udp.on("message", (query, { port: from, address }) => {
      const response = this.#respond(query);
      if (response === null) return;
      if (response.length <= MAX_UDP) return udp.send(response, from, address);
      const cut = this.#encode(query, 0, []);
      cut[2]! |= 0x02;
      udp.send(cut, from, address);
    });
    await new Promise<void>((resolve) => udp.bind(port, "127.0.0.1", resolve));
    this.address = `127.0.0.1:${port}`;
    this.#close = () => {
      tcp.close();
      udp.close();
    };
    return this;
  }

  close(): void {
    this.#close();
  }

  #serve(socket: Socket): void {
    let pending = Buffer.alloc(0);
    socket.on("error", () => undefined);
    socket.on("data", (bytes: Buffer) => {
      pending = Buffer.concat([pending, bytes]);
      while (pending.length >= 2 && pending.length >= 2 + pending.readUInt16BE(0)) {
        const end = 2 + pending.readUInt16BE(0);
        const response = this.#respond(pending.subarray(2, end));
        pending = pending.subarray(end);
        if (response !== null) socket.write(Buffer.concat([uint16(response.length), response]));
      }
    });
  }

  #respond(query: Buffer): Buffer | null {
    const { name, type } = readQuestion(query);
    this.asked.set(name, (this.asked.get(name) ?? 0) + 1);
    const { addresses, services, failure, failing } = this.zone;
    if (failure === "silent") return null;
    if (failure === "servfail" || failing.has(name)) return this.#encode(query, SERVFAIL, []);
    const [found, service] = [addresses.get(name), services.get(name)];
    if (found === undefined && service === undefined) return this.#encode(query, NXDOMAIN, []);
    if (type === TYPE.SRV) return this.#encode(query, 0, (service ?? []).map(encodeService));
    const wanted = (found ?? []).filter((address) => address.includes(":") === (type === TYPE.AAAA));
    return this.#encode(query, 0, type === TYPE.A || type === TYPE.AAAA ? wanted.map(encodeAddress) : []);
  }

  #encode(query: Buffer, code: number, records: readonly Buffer[]): Buffer {
    const { end, type } = readQuestion(query);
    const header = Buffer.alloc(12);
    query.copy(header, 0, 0, 2);
    header.writeUInt16BE(0x8180 | code, 2);
    header.writeUInt16BE(1, 4);
    header.writeUInt16BE(records.length, 6);
    const sections = records.map((data) => {
      const head = Buffer.alloc(12);
      head.writeUInt16BE(0xc00c, 0);
      head.writeUInt16BE(type, 2);
      head.writeUInt16BE(1, 4);
      head.writeUInt32BE(this.zone.ttl, 6);
      head.writeUInt16BE(data.length, 10);
      return Buffer.concat([head, data]);
    });
    return Buffer.concat([header, query.subarray(12, end), ...sections]);
  }
}

function readQuestion(query: Buffer): { name: string; type: number; end: number } {
  const labels: string[] = [];
  let at = 12;
  while (query[at]! > 0) {
    labels.push(query.toString("latin1", at + 1, at + 1 + query[at]!));
    at += 1 + query[at]!;
  }
  return { name: labels.join(".").toLowerCase(), type: query.readUInt16BE(at + 1), end: at + 5 };
}

function encodeAddress(address: string): Buffer {
  if (!address.includes(":")) return Buffer.from(address.split(".").map(Number));
  const [left = "", right = ""] = address.split("::");
  const groups = (text: string) => (text === "" ? [] : text.split(":"));
  const zeros = Array.from({ length: 8 - groups(left).length - groups(right).length }, () => "0");
  const all = address.includes("::") ? [...groups(left), ...zeros, ...groups(right)] : address.split(":");
  return Buffer.concat(all.map((group) => uint16(Number.parseInt(group, 16))));
}

function encodeService({ priority, weight, port, name }: Service): Buffer {
  const labels = name.split(".").map((label) => Buffer.concat([Buffer.from([label.length]), Buffer.from(label)]));
  return Buffer.concat([uint16(priority), uint16(weight), uint16(port), ...labels, Buffer.from([0])]);
}

function uint16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return bytes;
}
