/** One certificate from a server that returns what it must not: orders end, come later and later, and are not stuck. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { Account } from "../../../../src/control/acme/account.ts";
import { AccountFile, CertificateFiles, fileNameOf } from "../../../../src/control/acme/storage.ts";
import { CertificateTask } from "../../../../src/control/acme/task.ts";
import { Semaphore } from "../../../../src/control/semaphore.ts";
import { ThrottledLog } from "../../../../src/observe/throttled-log.ts";
import { Authority } from "../../../support/certificates.ts";

const authority = new Authority();
authority.issue("acme-server");
authority.issue("other", { names: "DNS:a.example" });
/** Without its messages about progress. */
const openssl = (...args: string[]) => execFileSync("openssl", args, { stdio: ["ignore", "pipe", "ignore"] });
openssl(
  ...["req", "-x509", "-newkey", "rsa:512", "-nodes", "-subj", "/CN=weak"],
  ...["-keyout", authority.path("weak.key"), "-out", authority.path("weak.pem")],
);
test.after(() => authority.remove());

const DAY = 86_400_000;
const signal = new AbortController().signal;
const name = fileNameOf(["a.example"]);

/** Signs the request in DER. */
function sign(csr: Buffer, ...more: string[]): string {
  const at = (file: string) => authority.path(file);
  writeFileSync(at("csr.der"), csr);
  writeFileSync(at("csr.ext"), "subjectAltName=DNS:a.example\nauthorityKeyIdentifier=keyid\n");
  return openssl(
    ...["x509", "-req", "-inform", "DER", "-in", at("csr.der"), "-CA", at("ca.pem"), "-CAkey", at("ca.key")],
    ...["-CAcreateserial", "-extfile", at("csr.ext"), ...more],
  ).toString();
}

type Issue = (csr: Buffer) => string;

/** A server at which every order is ready at once. */
class Server {
  issue: Issue = (csr) => sign(csr);
  /** Status of responses to an existing order; 0: of the order. */
  fails = 0;
  suggests = "";
  orders = 0;
  readonly #issued: string[] = [];

  async start(t: TestContext): Promise<string> {
    const tls = { cert: authority.read("acme-server.pem"), key: authority.read("acme-server.key") };
    const server = createServer(tls, async (request, response) => {
      const text = Buffer.concat(await request.toArray()).toString();
      const payload = text === "" ? "" : Buffer.from(JSON.parse(text).payload, "base64url").toString();
      const [, path = "", id = ""] = request.url!.split("/");
      response.setHeader("replay-nonce", "nonce");
      if (path === "info") {
        const window = { start: "2020-01-01T00:00:00Z", end: "2020-01-02T00:00:00Z" };
        return response.end(JSON.stringify({ suggestedWindow: window }));
      }
      if (path === "certificate") return response.end(this.#issued[Number(id)]);
      if (path === "finalize") this.#issued[Number(id)] = this.issue(Buffer.from(JSON.parse(payload).csr, "base64url"));
      if (path === "new") response.statusCode = 201;
      const number = path === "new" ? this.orders++ : Number(id);
      if (path === "order" && this.fails > 0) return response.writeHead(this.fails).end();
      response.setHeader("location", `${origin}/${path === "account" ? "account" : "order"}/${number}`);
      const status = this.#issued[number] === undefined ? "ready" : "valid";
      const urls = { newNonce: "nonce", newAccount: "account", newOrder: "new", renewalInfo: "info" };
      const directory = Object.fromEntries(Object.entries(urls).map(([key, at]) => [key, `${origin}/${at}`]));
      const order = {
        status,
        finalize: `${origin}/finalize/${number}`,
        certificate: `${origin}/certificate/${number}`,
      };
      return response.end(JSON.stringify(path === "dir" ? directory : order));
    }).listen(0, "127.0.0.1");
    t.after(() => {
      server.closeAllConnections();
      server.close();
    });
    await once(server, "listening");
    const origin = `https://localhost:${(server.address() as AddressInfo).port}`;
    return `${origin}/dir`;
  }
}

type Site = { readonly task: CertificateTask; readonly server: Server; readonly served: string[]; now: number };

async function makeTask(
  t: TestContext,
  files: CertificateFiles,
  accountFile = new AccountFile(files.directory),
): Promise<Site> {
  const server = new Server();
  const directory = await server.start(t);
  const served: string[] = [];
  const site = { server, served, now: Date.now() };
  const log = { info: () => {}, warn: () => {}, error: () => {} };
  const account = new Account({
    directory,
    ca: [authority.read("ca.pem")],
    contact: [],
    external: null,
    file: accountFile,
    log,
    signal,
  });
  const task = new CertificateTask(
    {
      ...{
        id: "a",
        names: ["a.example"],
        account,
        files,
        challenges: ["http-01"],
        ocsp: "off",
        onDemand: false,
        keyType: "p256",
      },
      findDenial: async () => "",
    },
    {
      ...{ log, ordering: new Semaphore(1), count: () => {}, random: () => 0, now: () => site.now },
      warnings: new ThrottledLog(
        () => {},
        () => 0,
      ),
      board: { publish: async () => {}, withdraw: () => {} },
      onServed: async (_, { certificate }) => void served.push(certificate.cert),
    },
  );
  t.after(() => task.stop());
  return Object.assign(site, { task });
}

const filesOf = (t: TestContext) =>
  new CertificateFiles(join(authority.directory, t.name.replaceAll(/\W/g, "-").slice(0, 40)));

test("a certificate that cannot be served is refused, and the next order is another one", async (t) => {
  const site = await makeTask(t, filesOf(t));
  const { task, server } = site;
  const bad: [RegExp, Issue][] = [
    [/is not valid now, but from/, (csr) => sign(csr, "-days", "-1")],
    [/is for another key/, () => authority.read("other.pem")],
    [/cannot be used: .*(?:too small|too weak)/, (csr) => sign(csr) + authority.read("weak.pem")],
    [/has 0 certificates/, () => "<html>"],
    [/has 11 certificates/, (csr) => sign(csr).repeat(11)],
  ];
  for (const [index, [problem, issue]] of bad.entries()) {
    server.issue = issue;
    assert.equal(await task.order(), false, String(problem));
    assert.match(task.describe([]).problem, problem);
    assert.equal(server.orders, index + 1);
    assert.ok(task.dueAt >= site.now + 10_000);
  }
  assert.deepEqual(site.served, []);
  // Text around the certificates, and what OpenSSL would take for the first of them, reaches no worker.
  server.issue = (csr) =>
    authority.read("other.pem").replaceAll("CERTIFICATE", "X509 CERTIFICATE") + sign(csr, "-days", "90");
  assert.equal(await task.order(), true, task.describe([]).problem);
  assert.doesNotMatch(site.served[0]!, /X509/);
});

test("an order is kept while its server fails, and forgotten when the server does not know it", async (t) => {
  const { task, server } = await makeTask(t, filesOf(t));
  server.fails = 503;
  for (let i = 0; i < 3; i++) assert.equal(await task.order(), false);
  assert.equal(server.orders, 1);
  server.fails = 404;
  assert.equal(await task.order(), false);
  server.fails = 0;
  assert.equal(await task.order(), true, task.describe([]).problem);
});

test("renewals that a server suggests without end come later and later", async (t) => {
  const site = await makeTask(t, filesOf(t));
  const { task, server } = site;
  const delays: number[] = [];
  for (let i = 0; i < 5; i++) {
    // As after the renewal information was read, which is in the past.
    assert.equal(await task.order(), true, task.describe([]).problem);
    const state = JSON.parse(JSON.stringify(await task.options.files.readState(name)));
    delays.push(Math.max(0, state.nextTry - site.now));
    site.now += delays.at(-1)!;
  }
  assert.deepEqual(delays, [0, 10_000, 120_000, 600_000, 1_800_000]);
  site.now += DAY;
  assert.equal(await task.order(), true);
  assert.equal((await task.options.files.readState(name))!.nextTry, 0);
  assert.equal(server.orders, 6);
});

test("a damaged state or key on disk does not stop orders", async (t) => {
  const files = filesOf(t);
  const { task, server } = await makeTask(t, files);
  server.fails = 503;
  await task.order();
  const state = (await files.readState(name))!;
  await files.writeState(name, { ...state, order: { ...state.order!, key: "damaged" } });
  server.fails = 0;
  await task.load();
  assert.equal(await task.order(), true, task.describe([]).problem);
  for (const damage of [{ nextTry: "soon" }, { names: null }, { order: {} }, { suggestion: {} }, { problem: 1 }]) {
    await files.writeState(name, { ...state, ...damage } as never);
    assert.equal(await files.readState(name), null, JSON.stringify(damage));
  }
});

test("nothing is ordered while the state cannot be saved, and what is served stays", async (t) => {
  const files = filesOf(t);
  // The account exists: its file is elsewhere.
  writeFileSync(files.directory, "");
  const site = await makeTask(t, files, new AccountFile(`${files.directory}-account`));
  const { task, server } = site;
  assert.equal(await task.order(), false);
  assert.match(task.describe([]).problem, /cannot be written: E/);
  assert.deepEqual([server.orders, task.dueAt], [0, site.now + 10_000]);
  rmSync(files.directory);
  assert.equal(await task.order(), true, task.describe([]).problem);
  // A renewal.
  renameSync(files.directory, `${files.directory}-aside`);
  writeFileSync(files.directory, "");
  const { served } = task;
  assert.equal(await task.order(), false);
  assert.deepEqual([server.orders, task.served === served], [1, true]);
  rmSync(files.directory);
  renameSync(`${files.directory}-aside`, files.directory);
  assert.equal(await task.order(), true, task.describe([]).problem);
  assert.deepEqual([server.orders, site.served.length], [2, 2]);
});

test("a certificate that cannot be saved is served, and downloaded again until it is", async (t) => {
  const files = filesOf(t);
  const site = await makeTask(t, files);
  const { task, server } = site;
  const path = join(files.directory, `${name}.pem`);
  mkdirSync(join(path, "in-the-way"), { recursive: true });
  for (let i = 1; i <= 2; i++) {
    assert.equal(await task.order(), false);
    assert.match(task.describe([]).problem, /\.pem cannot be written: E/);
    assert.deepEqual([task.describe([]).state, site.served.length, server.orders], ["failing", i, 1]);
    assert.ok(task.dueAt > site.now && task.dueAt <= site.now + 130_000);
  }
  rmSync(path, { recursive: true });
  assert.equal(await task.order(), true, task.describe([]).problem);
  assert.deepEqual([task.describe([]).state, server.orders, new Set(site.served).size], ["valid", 1, 1]);
  assert.equal((await files.readCertificate(name))!.cert, site.served[0]);
});

test("two processes that share a storage order a certificate once, and neither waits for a dead one", async (t) => {
  const files = filesOf(t);
  const [one, two] = [await makeTask(t, files), await makeTask(t, files)];
  // The second one has loaded what is on disk before the first one orders.
  await two.task.load();
  const results = await Promise.all([one.task.order(), two.task.order()]);
  assert.deepEqual(results, [true, true]);
  assert.equal(one.server.orders + two.server.orders, 1);
  assert.deepEqual(new Set(one.served), new Set(two.served));
  const path = join(files.directory, `${name}.lock`);
  assert.ok(!existsSync(path));
});

test("renewal information of a certificate that another process has replaced is not kept for its successor", async (t) => {
  const files = filesOf(t);
  const [one, two] = [await makeTask(t, files), await makeTask(t, files)];
  one.server.issue = (csr) => sign(csr, "-days", "20");
  await one.task.order();
  await two.task.load();
  one.server.issue = (csr) => sign(csr, "-days", "30");
  await one.task.order();
  const state = await files.readState(name);
  // The suggested time is in the past, so the second one looks at once whether it is to order.
  two.now += DAY / 24;
  two.task.start();
  while (two.served.length === 0 || two.task.describe([]).isOrdering)
    await new Promise((resolve) => setTimeout(resolve, 10));
  await two.task.stop();
  assert.equal(two.server.orders, 0);
  assert.deepEqual(two.served.at(-1), one.served.at(-1));
  assert.deepEqual(await files.readState(name), state);
});
