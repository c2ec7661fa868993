/** Checks each response before the measurement, so that no row compares different work. */
import { Agent, type IncomingHttpHeaders, request } from "node:http";
import { request as requestTls, Agent as TlsAgent } from "node:https";
import { BODY, LARGE, REMOVED_HEADER, ROUTE_HEADER, SET_VALUE, type Work } from "./site.ts";
import type { Subject } from "./subject.ts";

type RawResponse = {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
  readonly reused: boolean;
};

export type Expected = {
  readonly work: Work;
  /** How many share the requests. */
  readonly endpoints: number;
  /** Bodies too large for one read, both ways. */
  readonly large: boolean;
};

const ROUNDS = 16;

/** @throws if the proxy sends a wrong response, forwards the wrong headers, or does not keep connections alive on both sides. */
export async function checkSubject(measured: Subject, { work, endpoints, large }: Expected): Promise<void> {
  const subject = { ...measured, port: measured.checkedPort ?? measured.port };
  const kept = { keepAlive: true, maxSockets: 1 };
  const agent = subject.tls ? new TlsAgent({ ...kept, rejectUnauthorized: false }) : new Agent(kept);
  try {
    await checkResponses(subject, work, agent);
    await checkForwarded(subject, work, endpoints, agent);
    if (large) await checkLarge(subject, agent);
  } finally {
    agent.destroy();
  }
}

async function checkResponses({ name, port }: Subject, work: Work, agent: Agent): Promise<void> {
  for (const beta of [false, true]) {
    const { status, headers, body } = await ask(port, "/", beta, agent);
    const group = work === "chain" && beta ? "canary" : "app";
    expect(name, "status", String(status), "200");
    expect(name, "body", body, BODY[group]);
    expect(name, REMOVED_HEADER, String(headers[REMOVED_HEADER]), work === "chain" ? "undefined" : "upstream");
  }
}

async function checkForwarded(
  { name, port, tls }: Subject,
  work: Work,
  endpoints: number,
  agent: Agent,
): Promise<void> {
  let served = 0;
  for (let round = 0; round < ROUNDS; round++) {
    const { status, body, reused } = await ask(port, "/echo", false, agent);
    expect(name, "status of /echo", `${status} ${status === 200 ? "" : body}`, "200 ");
    expect(name, "client's connection kept alive", String(reused), "true");
    const [requests, via = "", from, proto, forwardedHost, host, connection, tenant] = body.split("|");
    const authority = `127.0.0.1:${port}`;
    served = Math.max(served, Number(requests));
    expect(name, "via", via.replace(/^1\.1 \S+$/, "1.1 …"), "1.1 …");
    expect(name, "x-forwarded-for", from, "127.0.0.1");
    expect(name, "x-forwarded-proto", proto, tls ? "https" : "http");
    expect(name, "x-forwarded-host", forwardedHost, authority);
    expect(name, "host", host, authority);
    expect(name, "connection", String(connection === "" || connection === "keep-alive"), "true");
    expect(name, "x-tenant", tenant, work === "chain" ? SET_VALUE : "");
  }
  if (endpoints <= 2 && served < ROUNDS / 4) throw new Error(`${name}: its upstream connections are not kept alive`);
}

async function checkLarge({ name, port }: Subject, agent: Agent): Promise<void> {
  const { body } = await ask(port, "/large", false, agent);
  expect(name, "length of /large", String(body.length), String(LARGE));
  expect(name, "end of /large", body.slice(-16), "0123456789abcdef");
  const uploaded = await ask(port, "/upload", false, agent, Buffer.alloc(LARGE, "x"));
  expect(name, "bytes that came to /upload", uploaded.body, String(LARGE));
}

function expect(name: string, what: string, seen: string | undefined, wanted: string): void {
  if (seen !== wanted) throw new Error(`${name}: ${what} is ${JSON.stringify(seen)}, not ${JSON.stringify(wanted)}`);
}

function ask(port: number, path: string, beta: boolean, agent: Agent, upload?: Buffer): Promise<RawResponse> {
  const headers = beta ? { [ROUTE_HEADER]: "1" } : {};
  return new Promise((resolve, reject) => {
    const method = upload === undefined ? "GET" : "POST";
    const send = agent instanceof TlsAgent ? requestTls : request;
    const asked = send({ host: "127.0.0.1", port, method, path, headers, agent }, (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("error", reject);
      response.on("end", () => {
        const body = Buffer.concat(chunks).toString("latin1");
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body, reused: asked.reusedSocket });
      });
    });
    asked.on("error", reject);
    asked.end(upload);
  });
}
