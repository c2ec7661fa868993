/** Every pair of HTTP/1.1 and HTTP/2, at the client and at the endpoint, there also over TLS: a reload and a drain under load lose no request. */
import assert from "node:assert/strict";
import { EventEmitter, once } from "node:events";
import { CODE, FRAME, FRAME_FLAG, MAX_WINDOW, PREFACE, readUint32 } from "../../src/http2/frames.ts";
import { END, type Field, frame, framesOf, headers, SETTINGS, uint32 } from "../support/http2-frames.ts";
import { connectTo, type Peer } from "./peers.ts";
import { bounded, type LiveTest, startSluice, testInUsualMode, until } from "./program.ts";
import { type Handler, makeCertificate, startUpstreams, UPSTREAMS } from "./protocol-pairs.ts";

const authority = makeCertificate();

const BODY = Buffer.alloc(600, "0123456789");
/** Requests of one client at once. */
const STREAMS = 8;

const events = new EventEmitter();

/** Returns bodies; `/later`: once `finish` was emitted, `/never`: not at all. */
const handle: Handler = (incoming, outgoing) => {
  const { url = "" } = incoming;
  outgoing.on("error", () => undefined);
  incoming.on("error", () => undefined);
  if (url.endsWith("/never")) return;
  if (url.endsWith("/later")) return void once(events, "finish").then(() => outgoing.end("later"));
  const chunks: Buffer[] = [];
  incoming.on("data", (chunk: Buffer) => chunks.push(chunk));
  incoming.on("end", () => outgoing.end(Buffer.concat(chunks)));
};

type Tally = { responses: number; lost: number; readonly ended: Promise<unknown> };

/** Sends a request with each response, until one says that it is the last. */
async function saturateHttp1(t: LiveTest, port: number, to: string): Promise<Tally> {
  const text = `POST ${to}/echo HTTP/1.1\r\nHost: a\r\nContent-Length: ${BODY.length}\r\n\r\n${BODY}`;
  const run = async (): Promise<void> => {
    const client = await connectTo(t, port);
    for (let isLast = false; !isLast; ) {
      const { status, body, headers: fields } = await client.send(text).readResponse();
      if (status === 200 && body.equals(BODY)) tally.responses++;
      else tally.lost++;
      isLast = fields.connection === "close";
    }
  };
  const tally: Tally = { responses: 0, lost: 0, ended: Promise.all(Array.from({ length: STREAMS }, run)) };
  return tally;
}

/** A client of HTTP/2 that sends frames as they are: the bytes and the end of each response, and each GOAWAY. */
class Http2Client {
  readonly peer: Peer;
  readonly bodies = new Map<number, number>();
  readonly ended = new Set<number>();
  readonly goAways: { readonly last: number; readonly code: number }[] = [];
  nextId = 1;
  onEnd: () => void = () => {};

  constructor(peer: Peer) {
    this.peer = peer;
    let rest = Buffer.alloc(0);
    peer.socket.on("data", (data: Buffer) => {
      rest = Buffer.concat([rest, data]);
      for (const one of framesOf(rest)) {
        rest = rest.subarray(9 + one.payload.length);
        this.#frame(one);
      }
    });
    peer.send(Buffer.concat([PREFACE, SETTINGS, frame(FRAME.windowUpdate, 0, 0, uint32(1 << 30))]));
  }

  #frame({ type, flags, stream, payload }: ReturnType<typeof framesOf>[number]): void {
    if (type === FRAME.goAway)
      this.goAways.push({ last: readUint32(payload, 0) & MAX_WINDOW, code: readUint32(payload, 4) });
    if (type === FRAME.data) this.bodies.set(stream, (this.bodies.get(stream) ?? 0) + payload.length);
    if ((type !== FRAME.data && type !== FRAME.headers) || (flags & FRAME_FLAG.endStream) === 0) return;
    this.ended.add(stream);
    this.onEnd();
  }

  request(path: string, body: Buffer = Buffer.alloc(0)): number {
    const id = this.nextId;
    this.nextId += 2;
    const fields: Field[] = [
      [":method", body.length > 0 ? "POST" : "GET"],
      [":scheme", "http"],
      [":path", path],
      [":authority", "a"],
    ];
    const head = headers(id, fields, body.length > 0 ? FRAME_FLAG.endHeaders : END);
    this.peer.send(body.length > 0 ? Buffer.concat([head, frame(FRAME.data, FRAME_FLAG.endStream, id, body)]) : head);
    return id;
  }
}

/** Sends a request with each response until the second GOAWAY: between the two, others may be in transit. */
async function saturateHttp2(t: LiveTest, port: number, to: string): Promise<Tally> {
  const client = new Http2Client(await connectTo(t, port));
  const send = (): number => client.request(`${to}/echo`, BODY);
  const tally: Tally = {
    responses: 0,
    lost: 0,
    ended: client.peer.closed.then(() => {
      const [first, second] = client.goAways;
      assert.deepEqual([first, second?.code], [{ last: MAX_WINDOW, code: CODE.noError }, CODE.noError]);
      for (let id = 1; id < client.nextId; id += 2)
        if (id <= second!.last && (!client.ended.has(id) || client.bodies.get(id) !== BODY.length)) tally.lost++;
    }),
  };
  client.onEnd = () => {
    tally.responses++;
    if (client.goAways.length < 2) send();
  };
  for (let i = 0; i < STREAMS; i++) send();
  return tally;
}

testInUsualMode("every-protocol-pair-drains: no request is lost, and the grace bounds the rest", async (t) => {
  const clusters = await startUpstreams(t, handle, authority, ", pool: { idle: 8 }");
  const routes = UPSTREAMS.map((name) => `{ match: { prefix: /${name}/ }, cluster: ${name}, retry: { attempts: 0 } }`);
  const sluice = await startSluice(
    t,
    (ports) => `
shutdown: { grace: 4s }
listeners:
  web: { address: "127.0.0.1:${ports.web}", routes: [${routes.join(", ")}] }
clusters:
${clusters}
`,
  );
  const tallies = new Map<string, Tally>();
  for (const to of UPSTREAMS.map((name) => `/${name}`)) {
    tallies.set(`HTTP/1 to ${to}`, await saturateHttp1(t, sluice.port, to));
    tallies.set(`HTTP/2 to ${to}`, await saturateHttp2(t, sluice.port, to));
  }
  /** Until each pair has had as many more responses. */
  const load = async (count: number): Promise<void> => {
    const before = [...tallies.values()].map(({ responses }) => responses);
    const isLoaded = () => [...tallies.values()].every(({ responses }, i) => responses >= before[i]! + count);
    await until(isLoaded, `${count} responses of each pair`);
  };
  await load(50);
  for (let i = 0; i < 3; i++) {
    // Another version of both clusters, whose connections are drained.
    sluice.config(sluice.configText.replace(/pool: \{ idle: \d \}/g, `pool: { idle: ${i + 1} }`));
    assert.equal((await sluice.reload()).status, 200);
    await load(50);
  }

  // In flight at the drain: one response that is made within the grace, and one that is not.
  const slow = new Http2Client(await connectTo(t, sluice.port));
  const paths = ["/http1/later", "/http2/later", "/http1/never", "/http2/never"];
  const [first, second] = paths.map((path) => slow.request(path));
  const slowHttp1 = await connectTo(t, sluice.port);
  slowHttp1.send("GET /http2/later HTTP/1.1\r\nHost: a\r\n\r\n");
  await until(async () => (await sluice.metric("sluice_requests_in_flight")) >= 5, "the slow requests");
  await until(() => events.listenerCount("finish") === 3, "the slow requests at the endpoints");
  sluice.kill("SIGTERM");
  await until(() => slow.goAways.length === 2, "both GOAWAY");
  events.emit("finish");
  await until(() => slow.ended.has(first!) && slow.ended.has(second!), "the slow responses");
  const { status, headers: fields } = await slowHttp1.readResponse();
  assert.deepEqual([status, fields.connection], [200, "close"]);
  for (const [name, tally] of tallies) {
    await bounded(tally.ended, `the end of ${name}`);
    assert.equal(tally.lost, 0, name);
  }
  await bounded(slow.peer.closed, "the end of the grace");
  assert.equal(slow.ended.size, 2);
  assert.deepEqual(await bounded(sluice.exited, "the program's end"), { code: 0, signal: null });
});
