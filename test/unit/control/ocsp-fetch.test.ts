import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type RequestListener } from "node:http";
import { createServer as createSecureServer } from "node:https";
import { type AddressInfo, createServer as createTcpServer } from "node:net";
import { type TestContext, test } from "node:test";
import { setDefaultCACertificates } from "node:tls";
import { fetchOcsp } from "../../../src/control/ocsp-fetch.ts";
import { Authority } from "../../support/certificates.ts";

const REQUEST = Buffer.from("request");
const NEVER = new AbortController().signal;

async function responder(t: TestContext, listener: RequestListener): Promise<string> {
  const server = createServer(listener);
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/ocsp`;
}

test("the request is posted, and the body of the response returned", async (t) => {
  const url = await responder(t, async (request, response) => {
    const { "content-type": type, "content-length": length } = request.headers;
    const body = Buffer.concat(await request.toArray()).toString();
    response.end([request.method, request.url, type, length, body].join());
  });
  assert.equal(String(await fetchOcsp(url, REQUEST, NEVER)), "POST,/ocsp,application/ocsp-request,7,request");
});

test("a responder over https is verified", async (t) => {
  const authority = new Authority();
  t.after(() => authority.remove());
  authority.issue("site");
  const options = { cert: authority.read("site.pem"), key: authority.read("site.key") };
  const server = createSecureServer(options, (_, response) => response.end("ok"));
  t.after(() => server.close());
  await once(server.listen(0, "127.0.0.1"), "listening");
  const url = `https://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  await assert.rejects(fetchOcsp(url, REQUEST, NEVER), /unable to verify/);
  setDefaultCACertificates([authority.read("ca.pem")]);
  assert.equal(String(await fetchOcsp(url, REQUEST, NEVER)), "ok");
});

test("large responses, other statuses and redirects are rejected", async (t) => {
  const endless = await responder(t, (_, response) => {
    const write = (): void =>
      void (response.write(Buffer.alloc(4096)) ? setImmediate(write) : response.once("drain", write));
    write();
  });
  await assert.rejects(fetchOcsp(endless, REQUEST, NEVER), /more than 32768 bytes/);
  const moved = await responder(t, (_, response) => response.writeHead(302, { location: endless }).end());
  await assert.rejects(fetchOcsp(moved, REQUEST, NEVER), /returned status 302/);
  const cut = await responder(t, (_, response) => {
    response.writeHead(200, { "content-length": 10 }).write("abc");
    setImmediate(() => response.destroy());
  });
  await assert.rejects(fetchOcsp(cut, REQUEST, NEVER), /aborted/);
});

test("a server that switches protocols ends the request", async (t) => {
  const server = createTcpServer((socket) => {
    socket.on("error", () => {});
    socket.once("data", () =>
      socket.write("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"),
    );
  });
  t.after(() => server.close());
  await once(server.listen(0, "127.0.0.1"), "listening");
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  await assert.rejects(fetchOcsp(url, REQUEST, NEVER), /switched to another protocol/);
});

test("requests to slow responders time out", async (t) => {
  const silent = await responder(t, () => {});
  await assert.rejects(fetchOcsp(silent, REQUEST, NEVER, 50), /no complete response within 50 ms/);
  const cancel = new AbortController();
  const cancelled = assert.rejects(fetchOcsp(silent, REQUEST, cancel.signal), /aborted/);
  cancel.abort();
  await cancelled;
  const slow = await responder(t, (_, response) => response.writeHead(200).write("a"));
  await assert.rejects(fetchOcsp(slow, REQUEST, NEVER, 50), /no complete response within 50 ms/);
  const server = createTcpServer((socket) => void socket.end("no HTTP\r\n\r\n"));
  t.after(() => server.close());
  await once(server.listen(0, "127.0.0.1"), "listening");
  const { port } = server.address() as AddressInfo;
  await assert.rejects(fetchOcsp(`http://127.0.0.1:${port}`, REQUEST, NEVER), /Parse Error/);
  server.close();
  await assert.rejects(fetchOcsp(`http://127.0.0.1:${port}`, REQUEST, NEVER), /ECONNREFUSED/);
});
