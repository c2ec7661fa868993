/** Server-sent events and long polls pass at once, over every pair of protocols, plain and over TLS, also through filters of bodies. */
import assert from "node:assert/strict";
import { once } from "node:events";
import type { ServerResponse } from "node:http";
import { compileSource } from "../contract/plugin-harness.ts";
import { bounded, startSluice, testInUsualMode } from "./program.ts";
import {
  ask,
  type Client,
  type Handler,
  makeCertificate,
  startClients,
  startUpstreams,
  UPSTREAMS,
} from "./protocol-pairs.ts";

const authority = makeCertificate();

/** Marks each chunk that it sees. */
const MARKS = `
import { Body, Request, Response } from "sluice/sdk";
export function onResponseBody(req: Request, res: Response, body: Body): void {
  if (body.size > 0) body.appendText(":seen\\n\\n");
}
`;

/** Responses whose next event the test sends, by the path. */
const open = new Map<string, ServerResponse>();

const handle: Handler = (incoming, outgoing) => {
  incoming.resume();
  outgoing.on("error", () => undefined);
  open.set(incoming.url!, outgoing);
  if (incoming.url!.includes("/poll")) return;
  outgoing.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store" });
  outgoing.write(":begin\n\n");
};

async function assertEvents(client: Client, path: string, isMarked: boolean): Promise<void> {
  const call = client.open({ path, headers: { accept: "text/event-stream" } });
  call.request.end();
  const { status, headers, body } = await bounded(call.response, `the headers of ${path}`);
  assert.deepEqual([status, headers["content-type"]], [200, "text/event-stream"]);
  const chunks = body[Symbol.asyncIterator]();
  let received = "";
  const receive = async (expected: string): Promise<void> => {
    while (received.length < expected.length) {
      const { value, done } = await bounded(chunks.next(), `${JSON.stringify(expected)} of ${path}`);
      assert.ok(!done, received);
      received += value.toString();
    }
    assert.equal(received, expected);
    received = "";
  };
  const mark = isMarked ? ":seen\n\n" : "";
  await receive(`:begin\n\n${mark}`);
  for (let i = 0; i < 5; i++) {
    const event = `id: ${i}\ndata: ${"x".repeat(i * 10)}\n\n`;
    open.get(path)!.write(event);
    await receive(`${event}${mark}`);
  }
  // A client that leaves ends the stream.
  const left = once(open.get(path)!, "close");
  call.abort();
  await bounded(left, "the endpoint's stream to end");
}

/** No byte comes before the endpoint responds, and then all of it. */
async function assertPoll(client: Client, path: string): Promise<void> {
  const answered = ask(client, { path, method: "POST", body: Buffer.from("since=7") });
  while (!open.has(path)) await new Promise((resolve) => setImmediate(resolve));
  open.get(path)!.writeHead(200).end("event 8");
  const { status, body } = await answered;
  assert.deepEqual([status, body.toString()], [200, "event 8"]);
}

testInUsualMode("events and long polls", async (t) => {
  const clusters = await startUpstreams(t, handle, authority);
  const routes = UPSTREAMS.flatMap((name) => [
    `{ match: { prefix: /${name}/marked }, cluster: ${name}, chain: [marks] }`,
    `{ match: { prefix: /${name}/ }, cluster: ${name} }`,
  ]).join(", ");
  const sluice = await startSluice(
    t,
    ({ web, secure }) => `
plugins: { marks: { wasm: ./marks.wasm } }
listeners:
  web: { address: "127.0.0.1:${web}", routes: [${routes}] }
  secure:
    address: 127.0.0.1:${secure}
    tls: { certificates: [{ cert: ${authority.path("server.pem")}, key: ${authority.path("server.key")} }] }
    routes: [${routes}]
clusters:
${clusters}
`,
    { files: { "marks.wasm": await compileSource(MARKS) }, ports: ["secure"] },
  );
  const { web, secure } = sluice.ports;
  for (const client of await startClients(t, web, secure!, authority.read("ca.pem")))
    for (const to of UPSTREAMS)
      await t.test(`${client.name} to ${to}`, async () => {
        const more = client.name.replace(/\W/g, "");
        await assertEvents(client, `/${to}/plain/${more}`, false);
        await assertEvents(client, `/${to}/marked/${more}`, true);
        await assertPoll(client, `/${to}/poll/${more}`);
      });
});
