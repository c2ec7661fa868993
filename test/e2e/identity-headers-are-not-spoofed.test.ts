/** Only a filter sets the headers that identify the user, for any spelling that the client sends. */
import assert from "node:assert/strict";
import { createHash, createHmac } from "node:crypto";
import { connectTo, exchange, startRawUpstream, startUpstream } from "./peers.ts";
import { type Ports, startSluice, testInUsualMode } from "./program.ts";
import { ask, http1Client, http2Client, startEndpoint } from "./protocol-pairs.ts";

const SECRET = "a secret of thirty-two bytes or more";
const KEY = "correct-horse-battery";
const basic = Buffer.from("ann:pw").toString("base64");

function token(): string {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const text = `${part({ alg: "HS256" })}.${part({ sub: "ann", exp: Math.floor(Date.now() / 1000) + 600 })}`;
  return `${text}.${createHmac("sha256", SECRET).update(text).digest("base64url")}`;
}

/** Each chain sets x-user to the user's name; the credentials are valid. */
const FILTERS: readonly [name: string, filter: string, credentials: string][] = [
  ["api-key", `{ api-key: { keys: { ann: ${KEY} }, forward: x-user } }`, `X-Api-Key: ${KEY}`],
  [
    "basic-auth",
    `{ basic-auth: { users: { ann: "sha256:${createHash("sha256").update("pw").digest("hex")}" } } }`,
    `Authorization: Basic ${basic}`,
  ],
  ["jwt", `{ jwt: { keys: [{ alg: HS256, secret: ${SECRET} }], claims: { x-user: sub } } }`, ""],
  ["ext-auth", "{ ext-auth: { cluster: auth, upstream: [x-user] } }", "Cookie: ann"],
  ["headers", "{ headers: { request: { set: { x-user: ann } } } }", "X-Any: 1"],
  ["request-id", "{ request-id: { header: x-user } }", "X-Any: 1"],
  ["trusted", "{ request-id: { header: x-user, trust: true } }", "X-User: ann"],
];
const FORGED = ["X_User", "X.User", "x~uSER", "X!User", "x*user"].map((name) => `${name}: root\r\n`).join("");
/** Whether CGI and similar interfaces derive the variable of x-user from a name. */
const isUser = (name: string): boolean => name.toUpperCase().replace(/[^A-Z0-9]/g, "_") === "X_USER";

const config = (ports: Ports, app: number, auth: number): string => `listeners:
  web:
    address: 127.0.0.1:${ports.web}
    routes:
${FILTERS.map(([name, filter]) => `      - { match: { path: /${name} }, chain: [${filter}], cluster: app }\n`).join("")}
clusters: { app: ["127.0.0.1:${app}"], auth: ["127.0.0.1:${auth}"] }
`;

testInUsualMode("the endpoint receives one x-user, the filter's, in headers and trailers", async (t) => {
  const auth = await startUpstream(t, (_, response) => response.setHeader("x-user", "ann").end());
  const app = await startUpstream(t);
  const sluice = await startSluice(t, (ports) => config(ports, app.port, auth.port));
  for (const [name, , given] of FILTERS) {
    const credentials = given || `Authorization: Bearer ${token()}`;
    const forged = name === "trusted" ? FORGED : `X-User: root\r\n${FORGED}`;
    const head = `POST /${name} HTTP/1.1\r\nHost: a\r\n${credentials}\r\n${forged}Trailer: X-User, x.user, X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n`;
    const request = `${head}1\r\nx\r\n0\r\nX-User: root\r\n${FORGED}X-Sum: 1\r\n\r\n`;
    assert.equal((await exchange(t, sluice.port, request)).status, 200, name);
    const { headers, rawHeaders, trailers } = app.requests.pop()!;
    const values = rawHeaders.flatMap((field, i) => (i % 2 === 0 && isUser(field) ? [rawHeaders[i + 1]] : []));
    assert.equal(values.length, 1, `${name}: ${rawHeaders}`);
    if (name === "request-id") assert.match(values[0]!, /^[0-9a-f-]{36}$/);
    else assert.equal(values[0], "ann", name);
    assert.deepEqual([headers.trailer, ...Object.keys(trailers)], ["X-Sum", "x-sum"], name);
  }
});

testInUsualMode("the same holds for trailers received after the headers were sent", async (t) => {
  const app = await startRawUpstream(t);
  const sluice = await startSluice(t, (ports) => config(ports, app.port, app.port));
  const client = await connectTo(t, sluice.port);
  client.send(`POST /headers HTTP/1.1\r\nHost: a\r\nX_User: root\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n`);
  const endpoint = await app.connection(0);
  const head = await endpoint.head();
  assert.match(head, /^x-user: ann\r$/m);
  assert.doesNotMatch(head, /root/);
  client.send(`0\r\nX-User: root\r\n${FORGED}X-Sum: 1\r\n\r\n`);
  const rest = await endpoint.take("\r\n\r\n");
  assert.match(rest, /X-Sum: 1/);
  assert.doesNotMatch(rest, /user/i);
  endpoint.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
  assert.equal((await client.readResponse()).status, 200);
});

/** Headers about the origin of a request, in spellings that CGI and similar interfaces read alike. */
const ORIGIN = ["x-forwarded-for", "x_forwarded_host", "x.forwarded.proto", "x-forwarded-prefix", "x_real_ip"];

testInUsualMode("the same holds over HTTP/2, of clients and to endpoints; a path has one interpretation", async (t) => {
  type Seen = { readonly headers: readonly string[]; readonly trailers: readonly string[] };
  const seen: Seen[] = [];
  const [app, modern] = await Promise.all(
    (["http1", "http2"] as const).map((protocol) =>
      startEndpoint(t, protocol, (incoming, outgoing) => {
        incoming.resume().on("end", () => {
          const lines = (list: readonly string[]): string[] =>
            list.flatMap((name, i) => (i % 2 === 0 ? [`${name.toLowerCase()}: ${list[i + 1]}`] : []));
          seen.push({ headers: lines(incoming.rawHeaders), trailers: lines(incoming.rawTrailers) });
          outgoing.setHeader("x-url", incoming.url ?? "");
          outgoing.end();
        });
      }),
    ),
  );
  const listener = (port: number, cluster: string, path = "{}"): string => `    address: 127.0.0.1:${port}
    path: ${path}
    routes:
      - { match: { prefix: /private }, chain: [api-key: { keys: { ann: ${KEY} } }], cluster: ${cluster} }
      - { chain: [headers: { request: { set: { x-user: ann } } }], cluster: ${cluster} }
`;
  const sluice = await startSluice(
    t,
    (ports) => `listeners:
  web:
${listener(ports.web, "app")}  modern:
${listener(ports.modern!, "modern")}  merging:
${listener(ports.merging!, "modern", "{ mergeSlashes: true, encodedSlash: decode }")}clusters:
  app: ["127.0.0.1:${app!.port}"]
  modern: { endpoints: ["127.0.0.1:${modern!.port}"], protocol: http2 }
`,
    { ports: ["modern", "merging"] },
  );
  const user = ["x_user", "x.user", "x~user", "x-user"];
  const forged = Object.fromEntries([...user, ...ORIGIN].map((name) => [name, "forged"]));
  for (const [port, protocol] of [
    [sluice.port, "http1"],
    [sluice.ports.modern!, "http2"],
  ] as const)
    for (const client of [http1Client(t, port), await http2Client(t, port)]) {
      const what = `${client.name} to ${protocol}`;
      const { status } = await ask(client, {
        path: "/a",
        method: "POST",
        headers: { ...forged, ...(client.name === "HTTP/2" && { trailer: [...user, ...ORIGIN, "x-sum"].join() }) },
        trailers: { ...forged, "x-sum": "1" },
        body: Buffer.from("x"),
      });
      assert.equal(status, 200, what);
      const { headers, trailers } = seen.pop()!;
      assert.doesNotMatch([...headers, ...trailers].join("\n"), /forged/, what);
      assert.deepEqual(
        headers.filter((line) => isUser(line.split(":")[0]!)),
        ["x-user: ann"],
        what,
      );
      assert.deepEqual(trailers, ["x-sum: 1"], what);
      assert.deepEqual(
        headers.filter((line) => line.startsWith("trailer:")),
        ["trailer: x-sum"],
        what,
      );
      for (const path of ["//private", "/%2fprivate", "/x/..;/private", "/x%2F../private"])
        assert.equal((await ask(client, { path })).status, 400, `${what}: ${path}`);
      assert.equal((await ask(client, { path: "/private" })).status, 401, what);
    }
  const client = await http2Client(t, sluice.ports.merging!);
  for (const path of ["//private", "/%2fprivate"]) assert.equal((await ask(client, { path })).status, 401, path);
  assert.equal((await ask(client, { path: "/a%2f/b//c" })).headers["x-url"], "/a/b/c");
});
