/** Clients of TLS by others: curl, `openssl s_client`, node:https. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { type AgentOptions, type RequestOptions, request } from "node:https";
import { connect } from "node:net";
import { bounded } from "./program.ts";

/** What a command wrote; `input` is its standard input, which then ends. */
export async function run(
  command: string,
  args: readonly string[],
  input = "",
): Promise<{ code: number; out: string }> {
  const child = spawn(command, args, { stdio: ["pipe", "pipe", "pipe"] });
  let out = "";
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding("utf8").on("data", (text: string) => {
      out += text;
    });
  child.stdin.on("error", () => undefined);
  child.stdin.end(input);
  const [code] = await bounded(once(child, "close"), `${command} to end`);
  return { code, out };
}

export type Ask = {
  readonly port: number;
  readonly ca: string;
  readonly host?: string;
  readonly more?: readonly string[];
};

/** `curl https://HOST:PORT/PATH`, connected to 127.0.0.1. */
export function curl(
  path: string,
  { port, ca, host = "localhost", more = [] }: Ask,
): Promise<{ code: number; out: string }> {
  const url = `https://${host}:${port}${path}`;
  return run("curl", ["-sS", "-m", "10", "--cacert", ca, "--connect-to", `::127.0.0.1:${port}`, ...more, url]);
}

/** A handshake by `openssl s_client`, which ends at once. */
export function handshake({ port, ca, host = "localhost", more = [] }: Ask): Promise<{ code: number; out: string }> {
  const args = ["s_client", "-connect", `127.0.0.1:${port}`, "-servername", host, "-CAfile", ca, ...more];
  return run("openssl", args);
}

/** The subject of the certificate that a handshake shows. */
export function subjectOf({ out }: { readonly out: string }): string {
  return /^subject=(?:CN = )?(.*)$/m.exec(out)?.[1] ?? "";
}

export async function ask(options: RequestOptions & AgentOptions): Promise<{ status: number; body: string }> {
  const sent = request({ agent: false, servername: "localhost", host: "127.0.0.1", ...options }).end();
  const [response] = await bounded(once(sent, "response"), "a response");
  return { status: response.statusCode, body: (await response.toArray()).join("") };
}

/** The response of a port to those bytes on a plain connection, until it ends. */
export async function askPlain(port: number, bytes: string | Uint8Array): Promise<Buffer> {
  const socket = connect(port, "127.0.0.1");
  const read: Buffer[] = [];
  socket.on("data", (data: Buffer) => read.push(data));
  socket.on("error", () => undefined);
  socket.write(bytes);
  await bounded(new Promise((resolve) => socket.on("close", resolve)), "the connection to end");
  return Buffer.concat(read);
}
