/** Pebble, the test CA of Let's Encrypt, behind a front by which a test changes its responses. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import { createServer, get, request } from "node:https";
import type { AddressInfo } from "node:net";
import { setTimeout } from "node:timers/promises";
import { Authority } from "./certificates.ts";
import { DnsServer } from "./dns-server.ts";

export type PebbleOptions = {
  /** Ports on which it validates names, at 127.0.0.1. */
  readonly httpPort: number;
  readonly tlsPort: number;
  /** Free ports for its own. */
  readonly port: number;
  readonly managementPort: number;
  /** Of certificates, seconds. */
  readonly validity?: number;
  /** Keys of external accounts by id, one of which an account then needs. */
  readonly externalKeys?: Record<string, string>;
  /** Percentage of nonces that it rejects. */
  readonly rejectedNonces?: number;
};

/** A request of a client with the payload of its JWS; null without one. */
export type AcmeRequest = {
  readonly method: string;
  readonly path: string;
  readonly payload: Record<string, unknown> | null;
  /** Of pebble's response; 0: none. */
  status: number;
};

/** Responds in place of pebble; returns false if it does not. */
type Intercept = (request: AcmeRequest, response: ServerResponse) => boolean | Promise<boolean>;

export class Pebble {
  readonly authority = new Authority();
  readonly dns = new DnsServer();
  readonly #options: PebbleOptions;
  #child: ChildProcess | null = null;
  #front: Server | null = null;
  readonly requests: AcmeRequest[] = [];
  /** Changed by tests. */
  intercept: Intercept = () => false;
  /** Members that are added to the directory. */
  directoryMore: Record<string, string> = {};
  output = "";

  constructor(options: PebbleOptions) {
    this.#options = options;
  }

  /** URL of the directory at the front. */
  get directory(): string {
    return `https://localhost:${(this.#front!.address() as AddressInfo).port}/dir`;
  }

  get ca(): string {
    return this.authority.path("ca.pem");
  }

  async start(): Promise<this> {
    this.authority.issue("pebble");
    await this.dns.start();
    await this.startServer();
    const tls = { cert: this.authority.read("pebble.pem"), key: this.authority.read("pebble.key") };
    this.#front = createServer(tls, (request, response) => this.#forward(request, response));
    this.#front.listen(0, "127.0.0.1");
    await once(this.#front, "listening");
    return this;
  }

  /** Starts pebble, which knows nothing of an earlier run. */
  async startServer(): Promise<void> {
    const {
      httpPort,
      tlsPort,
      port,
      managementPort,
      validity = 7_776_000,
      rejectedNonces = 20,
      externalKeys,
    } = this.#options;
    const file = this.authority.path("pebble.json");
    const pebble = {
      listenAddress: `127.0.0.1:${port}`,
      managementListenAddress: `127.0.0.1:${managementPort}`,
      certificate: this.authority.path("pebble.pem"),
      privateKey: this.authority.path("pebble.key"),
      httpPort,
      tlsPort,
      certificateValidityPeriod: validity,
      ...(externalKeys && { externalAccountBindingRequired: true, externalAccountMACKeys: externalKeys }),
    };
    writeFileSync(file, JSON.stringify({ pebble }));
    const env = {
      ...process.env,
      PEBBLE_VA_NOSLEEP: "1",
      PEBBLE_WFE_NONCEREJECT: String(rejectedNonces),
      PEBBLE_AUTHZREUSE: "0",
    };
    const child = spawn("pebble", ["-config", file, "-dnsserver", this.dns.address], {
      env,
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#child = child;
    const listening = Promise.withResolvers<void>();
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding("utf8").on("data", (text: string) => {
        this.output += text;
        if (this.output.includes("ACME directory available")) listening.resolve();
      });
    child.once("exit", () => listening.reject(new Error(`pebble ended: ${this.output}`)));
    await listening.promise;
  }

  async stopServer(): Promise<void> {
    const child = this.#child;
    this.#child = null;
    if (child === null || child.exitCode !== null) return;
    child.kill("SIGKILL");
    await once(child, "exit");
    this.output = "";
  }

  /** PEM of the root of the issued certificates. */
  async root(): Promise<string> {
    for (let attempt = 1; ; attempt++)
      try {
        const sent = get({ ...this.#target(this.#options.managementPort), path: "/roots/0" });
        const [response] = (await once(sent, "response")) as [IncomingMessage];
        return (await response.setEncoding("utf8").toArray()).join("");
      } catch (error) {
        // It may begin to listen there after it has reported its directory.
        if (attempt === 200 || (error as NodeJS.ErrnoException).code !== "ECONNREFUSED") throw error;
        await setTimeout(50);
      }
  }

  async close(): Promise<void> {
    await this.stopServer();
    this.#front?.closeAllConnections();
    this.#front?.close();
    this.dns.close();
    this.authority.remove();
  }

  #target(port: number) {
    return {
      host: "127.0.0.1",
      port,
      servername: "localhost",
      ca: this.authority.read("ca.pem"),
      agent: false,
    } as const;
  }

  /** Payloads of the orders so far, without those that it rejected for their nonce. */
  get orders(): Record<string, unknown>[] {
    return this.requests.flatMap(({ payload, status }) =>
      payload !== null && "identifiers" in payload && status === 201 ? [payload] : [],
    );
  }

  /** The Host is the client's, of which pebble makes its URLs. */
  async #forward(from: IncomingMessage, to: ServerResponse): Promise<void> {
    const body = Buffer.concat(await from.toArray());
    const { method = "", url: path = "", headers } = from;
    const asked: AcmeRequest = { method, path, payload: payloadOf(body), status: 0 };
    this.requests.push(asked);
    if (await this.intercept(asked, to)) return;
    const sent = request({ ...this.#target(this.#options.port), method, headers, path });
    sent.on("error", () => to.destroy());
    sent.on("response", async (response) => {
      asked.status = response.statusCode!;
      const received = Buffer.concat(await response.toArray());
      const isDirectory = path === "/dir" && response.statusCode === 200;
      const more = isDirectory ? { ...JSON.parse(received.toString()), ...this.directoryMore } : null;
      const content = more === null ? received : Buffer.from(JSON.stringify(more));
      const { "content-length": _, "transfer-encoding": __, ...kept } = response.headers;
      to.writeHead(response.statusCode!, { ...kept, "content-length": content.length });
      to.end(method === "HEAD" ? undefined : content);
    });
    sent.end(body);
  }
}

function payloadOf(body: Buffer): AcmeRequest["payload"] {
  if (body.length === 0) return null;
  const { payload } = JSON.parse(body.toString()) as { payload: string };
  return payload === "" ? null : JSON.parse(Buffer.from(payload, "base64url").toString());
}
