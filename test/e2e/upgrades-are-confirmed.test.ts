/** A connection becomes a tunnel only if the client asked, the route allows it, and the endpoint confirms it. */
import assert from "node:assert/strict";
import { connectTo, exchange, type Peer, startRawUpstream } from "./peers.ts";
import { bounded, type LiveTest, simpleConfig, startSluice, testInUsualMode, until } from "./program.ts";

const ask = (more = "Connection: Upgrade\r\nUpgrade: websocket\r\n", line = "GET /ws HTTP/1.1") =>
  `${line}\r\nHost: a\r\n${more}Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n`;
const SWITCH = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n";
const get = "GET /plain HTTP/1.1\r\nHost: a\r\n\r\n";
const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/** An endpoint that sends these bytes for each request, and records requests; `served` runs after the first. */
async function startEndpoint(t: LiveTest, response: () => string, served: (peer: Peer) => unknown = () => {}) {
  const heads: string[] = [];
  const upstream = await startRawUpstream(t, async (peer) => {
    for (;;) {
      heads.push(await peer.head());
      peer.send(response());
      await served(peer);
    }
  });
  return { ...upstream, heads };
}

testInUsualMode(
  "upgrades-are-confirmed: without an upgrade that the route allows, its fields stay behind",
  async (t) => {
    const endpoint = await startEndpoint(t, () => ok);
    const sluice = await startSluice(
      t,
      (ports) => `
listeners:
  web:
    address: 127.0.0.1:${ports.web}
    routes:
      - { match: { prefix: /none }, upgrade: [], cluster: app }
      - { match: { prefix: /other }, upgrade: [chat/2, "X-Feed"], cluster: app }
      - cluster: app
clusters: { app: ["127.0.0.1:${endpoint.port}"] }
`,
    );
    const forwarded = async (request: string): Promise<string> => {
      const response = await exchange(t, sluice.port, request);
      assert.deepEqual([response.status, response.body.toString()], [200, "ok"]);
      const head = endpoint.heads.at(-1)!;
      const lines = head.split("\r\n").filter((line) => /^(connection|upgrade|http2-settings):/i.test(line));
      return lines.join(", ").toLowerCase();
    };
    const upgrade = (token: string, line = "GET /other HTTP/1.1") =>
      forwarded(ask(`Connection: keep-alive, upgrade\r\nUpgrade: ${token}\r\n`, line));
    const cases: [name: string, forwarded: () => Promise<string>, expected: string][] = [
      ["as asked", () => forwarded(ask()), "connection: upgrade, upgrade: websocket"],
      [
        "in any case",
        () => forwarded(ask("CONNECTION: UPGRADE\r\nUPGRADE: WebSocket\r\n")),
        "connection: upgrade, upgrade: websocket",
      ],
      ["as the route writes it", () => upgrade("CHAT/2"), "connection: upgrade, upgrade: chat/2"],
      [
        "the first that is allowed",
        () => upgrade("websocket, x-feed , chat/2"),
        "connection: upgrade, upgrade: x-feed",
      ],
      ["another version", () => upgrade("chat/1"), ""],
      ["a longer name", () => upgrade("x-feedback"), ""],
      ["not on this route", () => upgrade("websocket"), ""],
      ["on no route", () => forwarded(ask(undefined, "GET /none HTTP/1.1")), ""],
      [
        "HTTP/2",
        () => forwarded(ask("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n")),
        "",
      ],
      ["without Connection", () => forwarded(ask("Upgrade: websocket\r\n")), ""],
      ["without Upgrade", () => forwarded(ask("Connection: upgrade\r\n")), ""],
      ["from HTTP/1.0", () => forwarded(ask(undefined, "GET /ws HTTP/1.0")), ""],
      [
        "by another method",
        () => forwarded(ask("Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n", "POST /ws HTTP/1.1")),
        "",
      ],
      [
        "an empty body",
        () => forwarded(ask("Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n")),
        "connection: upgrade, upgrade: websocket",
      ],
      [
        "with a body",
        () => forwarded(ask("Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 2\r\n").concat("hi")),
        "",
      ],
    ];
    for (const [name, run, expected] of cases) assert.equal(await run(), expected, name);
  },
);

testInUsualMode(
  "upgrades-are-confirmed: the response of the endpoint decides, and an invalid 101 is a 502",
  async (t) => {
    let reply = "";
    const endpoint = await startEndpoint(t, () => reply);
    const sluice = await startSluice(t, simpleConfig(endpoint.port, { rest: "log: { access: true }" }));
    const responseTo = async (bytes: string, request = ask()) => {
      reply = bytes;
      return exchange(t, sluice.port, request);
    };
    const wrong: [name: string, response: string, request?: string][] = [
      ["a 101 unasked", `${SWITCH}\r\n`, get],
      ["to a request whose upgrade stayed behind", `${SWITCH}\r\n`, ask("Connection: upgrade\r\nUpgrade: h2c\r\n")],
      ["another protocol", "HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"],
      ["no protocol", "HTTP/1.1 101 X\r\nConnection: Upgrade\r\n\r\n"],
      ["not for this hop", "HTTP/1.1 101 X\r\nUpgrade: websocket\r\n\r\n"],
      ["by HTTP/1.0", SWITCH.replace("1.1", "1.0").concat("\r\n")],
      ["bytes before it", `\x81\x02hi${SWITCH}\r\n`],
      ["a malformed field", `${SWITCH}Bad Name: x\r\n\r\n`],
    ];
    for (const [name, bytes, request] of wrong) {
      const response = await responseTo(bytes, request);
      assert.deepEqual(
        [response.status, response.headers["proxy-status"]],
        [502, "sluice; error=http_protocol_error"],
        name,
      );
      assert.ok(!("upgrade" in response.headers), name);
    }
    await sluice.metricIs(wrong.length, "sluice_upstream_failures_total", { reason: "upstream_malformed" });
    const line = await sluice.logged(({ msg }) => msg === "attempt at an endpoint failed", "a failed attempt");
    assert.equal(line.cause, "a 101 to a request without Upgrade");

    const refused = await connectTo(t, sluice.port);
    reply =
      "HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nConnection: upgrade\r\nContent-Length: 3\r\n\r\nno!";
    const response = await refused.send(ask()).readResponse();
    assert.deepEqual([response.status, response.body.toString(), response.headers.upgrade], [426, "no!", undefined]);
    reply = ok;
    assert.equal((await refused.send(get).readResponse()).status, 200, "its connection is usable");
    assert.equal(endpoint.peers.length, wrong.length + 1, "and so is the endpoint's");
    await sluice.metricIs(0, "sluice_tunnels_active");
    await sluice.metricIs(0, "sluice_tunnels_ended_total");

    // Framing fields in a 101 have no meaning (RFC 9112 section 6.3): they are not forwarded.
    reply = `HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n${SWITCH}Content-Length: 5\r\nKeep-Alive: timeout=5\r\n\r\n`;
    const client = await connectTo(t, sluice.port);
    assert.match(await client.send(ask()).head(), /^HTTP\/1\.1 103 /);
    const head = await client.head();
    assert.match(head, /^HTTP\/1\.1 101 Switching Protocols\r\n/);
    assert.doesNotMatch(head, /content-length|transfer-encoding|keep-alive/i);
    client.send(`${get}0123456789`);
    const peer = endpoint.peers.at(-1)!;
    await until(() => endpoint.heads.at(-1) === get, "bytes of the tunnel that look like a request");
    await peer.take("0123456789");
    client.end();
    await bounded(peer.closed, "the tunnel's end");
  },
);

testInUsualMode(
  "upgrades-are-confirmed: early bytes belong to the tunnel, with slow readers on either side",
  async (t) => {
    const size = 6 * 1024 * 1024;
    const bytes = Buffer.alloc(size, "0123456789abcdefg");
    const asked = Promise.withResolvers<Peer>();
    const upstream = await startRawUpstream(t, async (peer) => {
      await peer.head();
      asked.resolve(peer);
    });
    const sluice = await startSluice(t, simpleConfig(upstream.port, { listener: "halfClose: true" }));
    const client = await connectTo(t, sluice.port);
    client.send(`${ask()}early `);
    const peer = await asked.promise;
    client.send("and a little later ");
    peer.send(`${SWITCH}\r\nwith the 101 `);
    assert.match(await client.head(), /^HTTP\/1\.1 101 /);
    await client.take("with the 101 ");
    await peer.take("early and a little later ");
    for (const [from, to] of [
      [client, peer],
      [peer, client],
    ] as const) {
      to.socket.pause();
      from.send(bytes);
      await until(() => from.socket.writableLength > 0, "the writer waits");
      to.socket.resume();
      await to.waits(() => to.bytes.length >= size, "all bytes");
      assert.ok(to.bytes.equals(bytes));
      await to.take(bytes.toString("latin1"));
    }
    // Each direction ends separately.
    peer.socket.allowHalfOpen = true;
    client.end("last question");
    await peer.waits(() => peer.ended, "the end");
    assert.equal(peer.text, "last question");
    peer.end("last message");
    assert.equal(String(await client.rest()), "last message");
    await sluice.metricIs(1, "sluice_tunnels_ended_total", { reason: "client_closed" });

    const [cut, other] = [await connectTo(t, sluice.port), upstream.peers.length];
    cut.send(ask());
    const second = await upstream.connection(other);
    second.send(`${SWITCH}\r\n`);
    await cut.head();
    second.reset();
    assert.equal(await bounded(cut.closed, "the client's end"), "reset");
    const line = await sluice.logged(({ msg }) => msg === "a tunnel ended unexpectedly", "a tunnel that ended");
    // If a client sends much before the 101 and ends its direction, reading pauses, and nothing is lost.
    const eager = await connectTo(t, sluice.port);
    eager.send(ask()).send(bytes).end("that is all");
    const third = await upstream.connection(other + 1);
    await until(() => eager.socket.writableLength > 0, "the client waits");
    third.socket.allowHalfOpen = true;
    third.send(`${SWITCH}\r\n`);
    await third.waits(() => third.ended, "the end");
    assert.ok(third.bytes.equals(Buffer.concat([bytes, Buffer.from("that is all")])));
    assert.match(await eager.head(), /^HTTP\/1\.1 101 /);
    third.end("and that was");
    assert.equal(String(await eager.rest()), "and that was");

    // All of it was sent before the 101.
    const brief = await connectTo(t, sluice.port);
    brief.send(ask()).end("at once");
    const fourth = await upstream.connection(other + 2);
    fourth.socket.allowHalfOpen = true;
    await sluice.metricIs(1, "sluice_requests_in_flight");
    fourth.send(`${SWITCH}\r\n`);
    await fourth.waits(() => fourth.ended, "the end");
    assert.equal(fourth.text, "at once");
    fourth.end("done");
    await brief.head();
    assert.equal(String(await brief.rest()), "done");
    assert.deepEqual([line.reason, line.listener, line.cluster], ["endpoint_reset", "web", "app"]);
  },
);
