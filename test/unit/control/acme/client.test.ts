/** The client against a server that responds in unexpected ways. */
import assert from "node:assert/strict";
import { once } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { type TestContext, test } from "node:test";
import { AcmeClient } from "../../../../src/control/acme/client.ts";
import { type AcmeError, boundText, describeProblem } from "../../../../src/control/acme/problem.ts";
import { readRetryAfter, send } from "../../../../src/control/acme/request.ts";
import { makeKey } from "../../../../src/net/acme/certificates.ts";
import { Authority } from "../../../support/certificates.ts";

const authority = new Authority();
authority.issue("ca-server");
test.after(() => authority.remove());
const ca = [authority.read("ca.pem")];
const { signal } = new AbortController();

type Serve = (request: IncomingMessage, response: ServerResponse) => void;

/** A server with a directory; `serve` responds to the other requests. Returns its origin. */
async function start(t: TestContext, serve: Serve, more: Record<string, unknown> = {}): Promise<string> {
  const tls = { cert: authority.read("ca-server.pem"), key: authority.read("ca-server.key") };
  const server = createServer(tls, (request, response) => {
    response.setHeader("replay-nonce", "nonce");
    if (request.url !== "/dir") return serve(request, response);
    const urls = { newNonce: `${origin}/nonce`, newAccount: `${origin}/account`, newOrder: `${origin}/order` };
    response.end(JSON.stringify({ ...urls, ...more }));
  }).listen(0, "127.0.0.1");
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  await once(server, "listening");
  const origin = `https://localhost:${(server.address() as AddressInfo).port}`;
  return origin;
}

const clientOf = (origin: string) =>
  new AcmeClient({ directory: `${origin}/dir`, ca, key: makeKey(), signal, account: `${origin}/account/1` });

const failing = (run: Promise<unknown>, failure: string, message: RegExp) =>
  assert.rejects(run, (error: AcmeError) => {
    assert.deepEqual([error.failure, message.test(error.message)], [failure, true], error.message);
    return true;
  });

test("a rejected nonce is replaced, a bounded number of times", async (t) => {
  let count = 0;
  const origin = await start(t, (_, response) => {
    count++;
    response.writeHead(400).end(JSON.stringify({ type: "urn:ietf:params:acme:error:badNonce", detail: "used" }));
  });
  await failing(clientOf(origin).newOrder(["a.example"], null), "rejected", /status 400: badNonce: used$/);
  assert.equal(count, 5);
});

test("responses are bounded in size, redirects are not followed, and URLs must be https", async (t) => {
  let requests = 0;
  const origin = await start(t, ({ url }, response) => {
    requests++;
    if (url === "/order") response.writeHead(302, { location: `${origin}/elsewhere` }).end();
    else if (url === "/large") response.end(Buffer.alloc(257 * 1024, 32));
    else if (url === "/list") response.end("[]");
    else if (url === "/located") response.writeHead(201, { location: "http://a.example/1" }).end("{}");
    else response.end("{}");
  });
  const client = clientOf(origin);
  await failing(client.newOrder(["a.example"], null), "rejected", /^the server returned status 302$/);
  assert.equal(requests, 1);
  await failing(client.post(`${origin}/large`, null), "unreachable", /more than 262144 bytes/);
  await failing(client.post(`${origin}/list`, null), "invalid_response", /not a JSON object/);
  await failing(client.post(`${origin}/located`, {}), "invalid_response", /location: expected an https URL/);
  await failing(client.post("http://a.example/", {}), "invalid_response", /expected an https URL/);
  const bad = await start(t, () => undefined, { newOrder: "file:///etc/passwd" });
  await failing(
    clientOf(bad).newOrder(["a.example"], null),
    "invalid_response",
    /directory: newOrder: expected an https URL/,
  );
  const unknown = new AcmeClient({ directory: `${origin}/dir`, ca: [], key: makeKey(), signal, account: null });
  await failing(unknown.register([], null), "unreachable", /certificate/);
});

test("a server that requires an external account gets none without it", async (t) => {
  const meta = { externalAccountRequired: true };
  const origin = await start(t, (_, response) => response.writeHead(201, { location: "/account/1" }).end("{}"), {
    meta,
  });
  await failing(clientOf(origin).register([], null), "rejected", /configure acme\.externalAccount$/);
  const { account } = await clientOf(origin).register([], { keyId: "k", macKey: "c2VjcmV0" });
  assert.equal(account, `${origin}/account/1`);
});

test("a response that does not come ends in time, or with its order", async (t) => {
  const origin = await start(t, (_, response) => void response.write("{"));
  await assert.rejects(
    send({ method: "GET", url: `${origin}/x`, ca, signal, timeout: 100 }),
    /no complete response within 100 ms/,
  );
  const order = new AbortController();
  const posted = clientOf(origin).until(order.signal).post(`${origin}/x`, null);
  setTimeout(() => order.abort(), 50);
  await failing(posted, "unreachable", /abort/);
});

test("rate limits are distinguished from other errors, with their time", async (t) => {
  const origin = await start(t, (_, response) => {
    response.writeHead(403, { "retry-after": "3600" });
    response.end(JSON.stringify({ type: "urn:ietf:params:acme:error:rateLimited", detail: "later" }));
  });
  await assert.rejects(clientOf(origin).newOrder(["a.example"], null), (error: AcmeError) => {
    assert.equal(error.failure, "rate_limited");
    assert.ok(Math.abs(error.retryAt! - Date.now() - 3_600_000) < 60_000);
    return true;
  });
});

test("renewal information is read from the server that has it", async (t) => {
  const windows = [
    '{"suggestedWindow":{"start":"2027-01-01T00:00:00Z","end":"2027-01-02T00:00:00Z"}}',
    '{"suggestedWindow":{"start":"x"}}',
    "{}",
  ];
  const more: Record<string, string> = {};
  const paths: string[] = [];
  const origin = await start(
    t,
    ({ url }, response) => {
      paths.push(url!);
      response.end(windows.shift());
    },
    more,
  );
  assert.equal(await clientOf(origin).renewalInfo("a.b"), null);
  more.renewalInfo = `${origin}/info/`;
  const client = clientOf(origin);
  const found = await client.renewalInfo("a.b");
  assert.deepEqual([found!.start, found!.end], [Date.parse("2027-01-01"), Date.parse("2027-01-02")]);
  await failing(client.renewalInfo("a.b"), "invalid_response", /window is invalid/);
  await failing(client.renewalInfo("a.b"), "invalid_response", /window is invalid/);
  assert.deepEqual(paths, ["/info/a.b", "/info/a.b", "/info/a.b"]);
});

test("texts of a server are shown in one line, and shortened", () => {
  const sub = { type: "urn:ietf:params:acme:error:dns", detail: "no\u001b[31m A record\n" };
  const problem = { type: "urn:ietf:params:acme:error:malformed", detail: "bad", subproblems: [sub, sub] };
  assert.equal(describeProblem(problem), "malformed: bad; dns: no [31m A record ");
  assert.equal(describeProblem({ type: "https://other", detail: 3 }), "unknown error: ");
  for (const value of [
    null,
    undefined,
    1,
    "x",
    [],
    { subproblems: [null] },
    { subproblems: 1 },
    { subproblems: ["x"] },
  ])
    assert.match(describeProblem(value), /^unknown error/);
  assert.equal(boundText("x".repeat(1_000_000)).length, 301);
});

test("Retry-After is seconds or a date, never in the past and bounded", () => {
  const read = (text?: string) => readRetryAfter(text === undefined ? {} : { "retry-after": text }, 1_000_000, 5000);
  assert.deepEqual(["2", "60", "Thu, 01 Jan 1970 00:00:00 GMT", "soon", "-1"].map(read), [
    1_002_000,
    1_005_000,
    1_000_000,
    null,
    null,
  ]);
  assert.equal(read(), null);
});
