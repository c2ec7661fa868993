/** One interpretation of HTTP/1.1 on both sides. */
import assert from "node:assert/strict";
import { findFreePort } from "./free-port.ts";
import { openSession, read, request } from "./http2.ts";
import { connectTo, exchange, type Peer, type RawResponse, startRawUpstream, startUpstream } from "./peers.ts";
import {
  bounded,
  type LiveTest,
  reuseSluice,
  simpleConfig,
  testInAllModes,
  testInEachMode,
  testInUsualMode,
} from "./program.ts";

/** A proxy for an upstream that sends `responses[path]`. */
async function startBefore(t: LiveTest, responses: Record<string, string>) {
  const heads: string[] = [];
  const upstream = await startRawUpstream(t, async (peer) => {
    for (;;) {
      const head = await peer.head();
      heads.push(head);
      const response = responses[head.split(" ")[1]!]!;
      peer.send(response);
      if (!/content-length|chunked|^HTTP\/1.1 (204|304)/im.test(response) && !head.startsWith("HEAD")) peer.end();
    }
  });
  const sluice = await reuseSluice(t, simpleConfig(upstream.port));
  return { sluice, upstream, heads };
}

testInAllModes("pipelining-keeps-order", async (t) => {
  const upstream = await startUpstream(t, ({ url }, response) => {
    // The earlier, the slower.
    setTimeout(() => response.end(`response to ${url}`), url === "/0" ? 60 : 0);
  });
  const sluice = await reuseSluice(t, simpleConfig(upstream.port));
  const client = await connectTo(t, sluice.port);
  const numbers = Array.from({ length: 50 }, (_, i) => i);
  client.send(numbers.map((i) => `GET /${i} HTTP/1.1\r\nHost: a\r\n\r\n`).join(""));
  for (const i of numbers) assert.equal((await client.readResponse()).body.toString(), `response to /${i}`);
  // The same with request bodies, in chunks with arbitrary boundaries.
  const posts = numbers
    .map((i) => `POST /p${i} HTTP/1.1\r\nHost: a\r\nContent-Length: ${i}\r\n\r\n${"x".repeat(i)}`)
    .join("");
  const parts = Array.from({ length: Math.ceil(posts.length / 37) }, (_, i) => posts.slice(i * 37, (i + 1) * 37));
  const sending = client.sendChunks(parts);
  for (const i of numbers) assert.equal((await client.readResponse()).body.toString(), `response to /p${i}`);
  await sending;
  assert.deepEqual(
    upstream.requests.filter(({ method }) => method === "POST").map(({ body }) => body.length),
    numbers,
  );
});

testInEachMode("head-and-1xx: responses without a body, and interim responses", async (t) => {
  const { sluice, upstream } = await startBefore(t, {
    "/sized": "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n",
    "/204": "HTTP/1.1 204 No Content\r\n\r\n",
    "/304": 'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\nContent-Length: 1000\r\n\r\n',
    // Some sites send this status to crawlers; a trailer must not frame the message (RFC 9110 section 6.5.1).
    "/odd":
      "HTTP/1.1 999 Request denied\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\nContent-Length: 9\r\n\r\n",
    "/hints":
      "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
  });
  const client = await connectTo(t, sluice.port);
  const ask = (method: string, path: string): Peer => client.send(`${method} ${path} HTTP/1.1\r\nHost: a\r\n\r\n`);
  const head = await ask("HEAD", "/sized").readResponse(true);
  assert.deepEqual([head.status, head.headers["content-length"]], [200, "1000"]);
  assert.equal((await ask("GET", "/204").readResponse()).status, 204);
  assert.equal((await ask("GET", "/304").readResponse()).headers["content-length"], "1000");
  const odd = await ask("GET", "/odd").readResponse();
  assert.deepEqual([odd.status, odd.body.toString(), odd.trailers], [999, "ok", "X-Sum: 1\r\n"]);
  const early = await ask("GET", "/hints").readResponse();
  assert.deepEqual([early.status, early.headers.link], [103, "</a>"]);
  assert.equal((await client.readResponse()).status, 102);
  const last = await client.readResponse();
  assert.deepEqual([last.status, last.body.toString()], [200, "ok"]);
  assert.equal(upstream.peers.length, 1);
  // A client of HTTP/1.0 does not support them.
  const old = await exchange(t, sluice.port, "GET /hints HTTP/1.0\r\n\r\n");
  assert.deepEqual([old.status, old.body.toString()], [200, "ok"]);
});

testInEachMode("http-1.0-clients: connections close, or stay open with keep-alive", async (t) => {
  const { sluice, heads } = await startBefore(t, {
    "/sized": "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "/chunked": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
  });
  const closing = await connectTo(t, sluice.port);
  const plain = await closing.send("GET /sized HTTP/1.0\r\n\r\n").readResponse();
  assert.deepEqual([plain.status, plain.body.toString(), plain.headers.connection], [200, "ok", "close"]);
  assert.equal(
    await bounded(
      closing.waits(() => closing.ended, "the end"),
      "the end",
    ),
    true,
  );
  assert.match(heads[0]!, /^GET \/sized HTTP\/1\.1\r\n/);
  assert.match(heads[0]!, /\r\nhost: /i);

  const kept = await connectTo(t, sluice.port);
  for (let turn = 0; turn < 2; turn++) {
    const response = await kept.send("GET /sized HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").readResponse();
    assert.deepEqual([response.body.toString(), response.headers.connection], ["ok", "keep-alive"]);
  }
  const unsized = await kept.send("GET /chunked HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").readResponse();
  assert.equal(unsized.headers["transfer-encoding"], undefined);
  assert.deepEqual([unsized.body.toString(), unsized.whole], ["ok", true]);
});

testInEachMode("close-delimited responses reach the client chunked and complete", async (t) => {
  const { sluice } = await startBefore(t, {
    "/some": `HTTP/1.1 200 OK\r\n\r\n${"x".repeat(100_000)}`,
    "/none": "HTTP/1.0 200 OK\r\n\r\n",
  });
  const client = await connectTo(t, sluice.port);
  for (const [path, size] of [
    ["/some", 100_000],
    ["/none", 0],
    ["/some", 100_000],
  ] as const) {
    const response = await client.send(`GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`).readResponse();
    assert.equal(response.headers["transfer-encoding"], "chunked");
    assert.deepEqual([response.whole, response.body.length], [true, size]);
  }
});

testInAllModes("chunked both ways with trailers", async (t) => {
  const upstream = await startUpstream(t, (request, response) => {
    response.writeHead(200, { trailer: "x-sum" });
    for (let at = 0; at < request.body.length; at += 10_000) response.write(request.body.subarray(at, at + 10_000));
    response.addTrailers({ "x-sum": `seen ${request.trailers["x-check"]}` });
    response.end();
  });
  const sluice = await reuseSluice(t, simpleConfig(upstream.port));
  const client = await connectTo(t, sluice.port);
  for (const chunks of [["a"], ["hello ", "world"], Array.from({ length: 100 }, (_, i) => `${i}`.repeat(700))]) {
    const body = chunks.map((chunk) => `${chunk.length.toString(16)}\r\n${chunk}\r\n`).join("");
    const request = `POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n${body}0\r\nX-Check: ${chunks.length}\r\n\r\n`;
    const parts = Array.from({ length: Math.ceil(request.length / 3001) }, (_, i) =>
      request.slice(i * 3001, (i + 1) * 3001),
    );
    await client.sendChunks(parts);
    const response: RawResponse = await client.readResponse();
    assert.equal(response.body.toString(), chunks.join(""));
    assert.match(response.trailers, new RegExp(`^x-sum: seen ${chunks.length}\r\n$`, "i"));
  }
  assert.equal(upstream.connections, 1);
});

testInUsualMode("absolute-form targets: the target's authority replaces Host", async (t) => {
  const upstream = await startUpstream(t, (request, response) =>
    response.end(`${request.headers.host} ${request.url}`),
  );
  const sluice = await reuseSluice(t, simpleConfig(upstream.port));
  const response = await exchange(
    t,
    sluice.port,
    "GET http://real.example:81/a/../b?c=d HTTP/1.1\r\nHost: other\r\n\r\n",
  );
  assert.equal(response.body.toString(), "real.example:81 /b?c=d");
  const bare = await exchange(t, sluice.port, "GET http://real.example HTTP/1.1\r\nHost: other\r\n\r\n");
  assert.equal(bare.body.toString(), "real.example /");
});

testInAllModes("a message head can arrive byte by byte, on both sides", async (t) => {
  const upstream = await startRawUpstream(t, async (peer) => {
    for (;;) {
      await peer.head();
      await peer.sendChunks("HTTP/1.1 200 OK\r\nX-A: b\r\nContent-Length: 5\r\n\r\nhello");
    }
  });
  const sluice = await reuseSluice(t, simpleConfig(upstream.port));
  const client = await connectTo(t, sluice.port);
  for (let turn = 0; turn < 3; turn++) {
    await client.sendChunks("GET /slowly HTTP/1.1\r\nHost: a\r\nX-B: c\r\n\r\n");
    const response = await client.readResponse();
    assert.deepEqual([response.status, response.headers["x-a"], response.body.toString()], [200, "b", "hello"]);
  }
});

testInUsualMode("hop-by-hop headers are removed, and Via is added", async (t) => {
  const upstream = await startRawUpstream(t, async (peer) => {
    for (;;) {
      await peer.head().then((head) => seen.push(head));
      peer.send(
        "HTTP/1.1 200 OK\r\nConnection: x-mine, keep-alive\r\nX-Mine: 1\r\nKeep-Alive: timeout=5\r\nX-Theirs: 2\r\nContent-Length: 0\r\n\r\n",
      );
    }
  });
  const seen: string[] = [];
  const sluice = await reuseSluice(t, simpleConfig(upstream.port));
  const response = await exchange(
    t,
    sluice.port,
    "GET / HTTP/1.1\r\nHost: a\r\nConnection: x-drop, keep-alive, authorization\r\nX-Drop: 1\r\nKeep-Alive: 5\r\nAuthorization: b\r\nTE: gzip\r\nVia: 1.0 b\r\nProxy-Authorization: c\r\nUpgrade: h2c\r\n\r\n",
  );
  assert.doesNotMatch(seen[0]!, /x-drop|keep-alive|\r\nte:|proxy-authorization|upgrade/i);
  assert.match(seen[0]!, /\r\nauthorization: b\r\n/i);
  assert.match(seen[0]!, /\r\nvia: 1\.0 b, 1\.1 sluice\r\n/i);
  assert.doesNotMatch(response.head, /x-mine|keep-alive/i);
  assert.equal(response.headers["x-theirs"], "2");
});

testInUsualMode("TE: trailers is forwarded with its Connection option (RFC 9110 section 10.1.4)", async (t) => {
  const { sluice, heads } = await startBefore(t, { "/": "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" });
  const client = await connectTo(t, sluice.port);
  const request = "GET / HTTP/1.1\r\nHost: a\r\n";
  await client.send(`${request}Connection: TE\r\nTE: gzip;q=0.5, trailers\r\n\r\n`).readResponse();
  await client.send(`${request}Connection: TE\r\nTE: gzip\r\n\r\n`).readResponse();
  await client.send(`${request}\r\n`).readResponse();
  const [passed, ...others] = heads;
  assert.deepEqual(passed!.match(/\r\n(te|connection): .*/gi), ["\r\nconnection: te", "\r\nte: trailers"]);
  assert.equal(others.length, 2);
  for (const head of others) assert.doesNotMatch(head, /\r\n(te|connection):/i);
});

testInUsualMode("an HTTP/1.0 request without Host gets the endpoint's, and no X-Forwarded-Host", async (t) => {
  const { sluice, heads, upstream } = await startBefore(t, { "/": "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" });
  await exchange(t, sluice.port, "GET / HTTP/1.0\r\n\r\n");
  await exchange(t, sluice.port, "GET / HTTP/1.0\r\nHost: named.example\r\n\r\n");
  assert.match(heads[0]!, /^GET \/ HTTP\/1\.1\r\n/);
  assert.deepEqual(heads[0]!.match(/\r\n(host|x-forwarded-host): .*/gi), [`\r\nhost: 127.0.0.1:${upstream.port}`]);
  assert.match(heads[0]!, /\r\nvia: 1\.0 sluice\r\n/);
  assert.deepEqual(heads[1]!.match(/\r\n(host|x-forwarded-host): .*/gi), [
    "\r\nHost: named.example",
    "\r\nx-forwarded-host: named.example",
  ]);
});

testInUsualMode("targets are forwarded as browsers and old clients send them", async (t) => {
  const upstream = await startUpstream(t);
  const sluice = await reuseSluice(t, simpleConfig(upstream.port));
  const targets: [sent: string, seen: string][] = [
    ["/search?q=C:\\temp&x=1", "/search?q=C:\\temp&x=1"],
    ["/caf\xc3\xa9?\xc3\xa9=\\", "/caf%C3%A9?%C3%A9=\\"],
  ];
  for (const [sent] of targets) {
    const response = await exchange(t, sluice.port, `GET ${sent} HTTP/1.1\r\nHost: a\r\n\r\n`);
    assert.equal(response.status, 200, sent);
  }
  assert.deepEqual(
    upstream.requests.map(({ url }) => url),
    targets.map(([, seen]) => seen),
  );
});

testInUsualMode("OPTIONS and TRACE decrement Max-Forwards, 405 has Allow, * is not changed as a path", async (t) => {
  const upstream = await startUpstream(t);
  const sluice = await reuseSluice(
    t,
    (ports) => `
listeners:
  web:
    address: 127.0.0.1:${ports.web}
    routes:
      - { match: { host: https }, chain: [redirect: { https: true }], cluster: app }
      - { match: { host: rewritten }, chain: [rewrite: { path: /x }], cluster: app }
      - { match: { host: prefixed }, chain: [rewrite: { prepend: /x }], cluster: app }
      - { cluster: app }
clusters: { app: [127.0.0.1:${upstream.port}] }
`,
  );
  const ask = (line: string, fields: string) => exchange(t, sluice.port, `${line} HTTP/1.1\r\n${fields}\r\n\r\n`);
  const last = () => upstream.requests.at(-1)!;

  assert.equal((await ask("OPTIONS /a", "Host: a\r\nMax-Forwards: 5\r\nX: 1")).status, 200);
  assert.deepEqual([last().headers["max-forwards"], last().headers.x], ["4", "1"]);
  assert.equal((await ask("GET /a", "Host: a\r\nMax-Forwards: 0")).status, 200);
  assert.equal(last().headers["max-forwards"], "0", "of other methods it is only a field");
  const passed = upstream.requests.length;
  for (const target of ["/a", "*"]) {
    const response = await ask(`OPTIONS ${target}`, "Host: a\r\nMax-Forwards: 0");
    assert.deepEqual([response.status, response.body.length, response.headers["proxy-status"]], [200, 0, undefined]);
    assert.equal(response.headers.allow, "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
  }
  assert.equal((await ask("OPTIONS /a", "Host: a\r\nMax-Forwards: 1, 0")).status, 400);
  for (const fields of ["Host: a", "Host: a\r\nMax-Forwards: 0", "Host: a\r\nMax-Forwards: 1"]) {
    const response = await ask("TRACE /a", fields);
    assert.deepEqual([response.status, response.headers.allow], [405, "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"]);
  }
  assert.equal((await ask("OPTIONS *", "Host: https")).headers.location, "https://https");
  assert.equal(upstream.requests.length, passed);
  for (const host of ["a", "rewritten", "prefixed"]) {
    assert.equal((await ask("OPTIONS *", `Host: ${host}`)).status, 200);
    assert.equal(last().url, "*", host);
  }
});

testInUsualMode("routes and listeners respond and redirect without a cluster", async (t) => {
  const upstream = await startUpstream(t);
  const plainPort = await findFreePort();
  const sluice = await reuseSluice(
    t,
    (ports) => `
listeners:
  plain: { address: "127.0.0.1:${plainPort}", redirect: { https: true, status: 308 } }
  web:
    address: 127.0.0.1:${ports.web}
    limits: { body: 10 }
    chain: [headers: { response: { set: { x-chain: "1" } } }]
    routes:
      - { match: { path: /ok }, respond: { body: "ok\\n", headers: { cache-control: no-store } } }
      - { match: { path: /none }, respond: { status: 204 } }
      - { match: { path: /same }, respond: { status: 304, headers: { etag: '"a"' } } }
      - { match: { prefix: /old }, redirect: { to: "/new{query}" }, chain: [ip-filter: { deny: [192.0.2.0/24] }] }
      - { match: { prefix: /site/ }, redirect: { host: www.example.com } }
      - { match: { prefix: /port/ }, redirect: { host: "www.example.com:81" } }
      - { match: { prefix: /site/ }, cluster: app }
clusters: { app: [127.0.0.1:${upstream.port}] }
`,
  );
  const ask = (line: string, fields = "Host: a", body = "") =>
    exchange(t, sluice.port, `${line} HTTP/1.1\r\n${fields}\r\n\r\n${body}`);
  const plain = await exchange(t, plainPort, "GET /a?b HTTP/1.1\r\nHost: x.example:8080\r\n\r\n");
  assert.deepEqual([plain.status, plain.headers.location], [308, "https://x.example/a?b"]);

  const { status, headers, body } = await ask("GET /ok");
  assert.deepEqual([status, body.toString(), headers["content-type"]], [200, "ok\n", "text/plain; charset=utf-8"]);
  assert.deepEqual(
    [headers["x-chain"], headers["cache-control"], headers["proxy-status"]],
    ["1", "no-store", undefined],
  );
  assert.equal((await ask("POST /ok", "Host: a\r\nContent-Length: 3", "abc")).status, 200);
  assert.equal((await ask("POST /ok", "Host: a\r\nContent-Length: 11", "abcdefghijk")).status, 413);
  // No body follows these: the next response starts at once.
  const client = await connectTo(t, sluice.port);
  const asks = ["HEAD /ok 200 3", "GET /none 204 undefined", "GET /same 304 undefined", "GET /ok 200 3"];
  for (const one of asks) {
    const [method, path, status, length] = one.split(" ");
    const request = client.send(`${method} ${path} HTTP/1.1\r\nHost: a\r\n\r\n`);
    const { status: got, headers } = await request.readResponse(method === "HEAD");
    assert.equal(`${method} ${path} ${got} ${headers["content-length"]}`, one);
    assert.ok(String(got) === status && (length === "3" || headers.etag === (got === 304 ? '"a"' : undefined)));
  }

  const old = await ask("GET /old?q=1");
  assert.deepEqual([old.status, old.headers.location, old.headers["x-chain"]], [302, "/new?q=1", "1"]);
  assert.equal((await ask("GET /site/x")).headers.location, "http://www.example.com/site/x");
  assert.equal((await ask("GET /site/x", "Host: WWW.example.com:8080")).status, 200, "the next route");
  assert.equal(
    (await ask("GET /port/x", "Host: www.example.com")).headers.location,
    "http://www.example.com:81/port/x",
  );
  assert.equal((await ask("GET /port/x", "Host: www.example.com:81")).status, 404, "a redirect would lead to itself");
  assert.deepEqual(
    upstream.requests.map(({ url }) => url),
    ["/site/x"],
  );

  const session = await openSession(t, sluice.url);
  const [got, head, none] = await Promise.all([
    request(session, { ":path": "/ok" }),
    request(session, { ":path": "/ok", ":method": "HEAD" }),
    request(session, { ":path": "/none" }),
  ]);
  assert.deepEqual([got.status, got.body.toString(), got.headers["content-length"]], [200, "ok\n", "3"]);
  assert.deepEqual([head.status, head.body.length, head.headers["content-length"]], [200, 0, "3"]);
  assert.deepEqual([none.status, none.body.length, none.headers["content-length"]], [204, 0, undefined]);
  // A 200 would open a tunnel.
  const tunnel = session.request(
    { ":method": "CONNECT", ":protocol": "websocket", ":path": "/ok", "sec-websocket-version": "13" },
    { endStream: false },
  );
  assert.equal((await read(tunnel)).status, 501);
});

testInUsualMode("Trailer is forwarded with the names that may follow a body", async (t) => {
  const upstream = await startUpstream(t, (request, response) => {
    if (request.url === "/sized") return void response.writeHead(200, { "content-length": 2 }).end("ok");
    response.writeHead(200, [
      ["trailer", "X-Sum, Content-Length,,Authorization"],
      ["trailer", "grpc-status"],
    ] as unknown as string[]);
    response.write("a");
    response.addTrailers({ "x-sum": "1", "grpc-status": "0" });
    response.end("b");
  });
  const sluice = await reuseSluice(t, simpleConfig(upstream.port));
  const post = (path: string, fields: string, body: string) =>
    exchange(t, sluice.port, `POST ${path} HTTP/1.1\r\nHost: a\r\n${fields}\r\n\r\n${body}`);
  const chunked = "Transfer-Encoding: chunked\r\nTrailer: X-Check\r\nTrailer: Host, X_Forwarded_For,X-Other , b@d";
  const response = await post("/", chunked, "1\r\na\r\n0\r\nX-Check: 1\r\nHost: b\r\n\r\n");
  assert.deepEqual(
    [response.headers.trailer, response.trailers],
    ["X-Sum,grpc-status", "x-sum: 1\r\ngrpc-status: 0\r\n"],
  );
  assert.equal(upstream.requests[0]!.headers.trailer, "X-Check,X-Other");
  assert.deepEqual(upstream.requests[0]!.trailers, { "x-check": "1" });
  // Trailer is not forwarded if no trailers can follow the body.
  assert.equal((await post("/sized", "Content-Length: 1\r\nTrailer: x-check", "a")).headers.trailer, undefined);
  assert.equal(upstream.requests[1]!.headers.trailer, undefined);
  const old = await exchange(t, sluice.port, "GET / HTTP/1.0\r\n\r\n");
  assert.deepEqual([old.headers.trailer, old.body.toString()], [undefined, "ab"]);
  await post("/", `${chunked},${"a,".repeat(6000)}`, "0\r\n\r\n");
  assert.equal(upstream.requests[3]!.headers.trailer!.split(",").length, 6002);
});
