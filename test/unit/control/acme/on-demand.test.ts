/** Certificates on demand that were saved: what is damaged on disk is left out, and stops neither a start nor a reload. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { setImmediate } from "node:timers/promises";
import type { Account } from "../../../../src/control/acme/account.ts";
import { OnDemand } from "../../../../src/control/acme/on-demand.ts";
import { CertificateFiles, fileNameOf, NEW_STATE } from "../../../../src/control/acme/storage.ts";
import { Semaphore } from "../../../../src/control/semaphore.ts";
import { ThrottledLog } from "../../../../src/observe/throttled-log.ts";
import type { ToWorker } from "../../../../src/worker/messages.ts";
import { Authority } from "../../../support/certificates.ts";

const authority = new Authority();
test.after(() => authority.remove());

const settings = { names: ["*.example"], limit: 10, rate: 1, ocsp: "off", listeners: [] } as const;

function makeOnDemand(warnings: unknown[], post: (worker: number, message: ToWorker) => void = () => {}): OnDemand {
  return new OnDemand({
    context: {
      ...{ ordering: new Semaphore(1), onServed: async () => {}, count: () => {}, now: Date.now, random: () => 0 },
      log: { info: () => {}, error: () => {}, warn: (fields: unknown) => void warnings.push(fields) },
      warnings: new ThrottledLog(
        () => {},
        () => 0,
      ),
      board: { publish: async () => {}, withdraw: () => {} },
    },
    workers: () => ({ up: () => [0], post }),
    signal: new AbortController().signal,
    removed: () => {},
  });
}

const sharedOf = (root: string) => ({
  ...({ account: {} as Account, root, challenges: [], keyType: "p256", onDemand: true } as const),
  findDenial: async () => "",
});

test("damaged files of certificates on demand are left out", async () => {
  const warnings: unknown[] = [];
  const onDemand = makeOnDemand(warnings);
  const prepare = async (root: string) => [...(await onDemand.prepare(settings, sharedOf(root))).loaded.keys()];
  const files = new CertificateFiles(join(authority.directory, "on-demand"));
  for (const name of ["good", "torn", "large", "other", "folder"]) {
    const names = [`${name}.example`];
    const id = fileNameOf(names);
    authority.issue(name, { names: `DNS:${names[0]}` });
    await files.writeCertificate(id, { key: authority.read(`${name}.key`), cert: authority.read(`${name}.pem`) });
    if (name === "folder") mkdirSync(join(files.directory, `${id}.json`));
    else await files.writeState(id, { ...NEW_STATE, names });
    if (name === "large") writeFileSync(join(files.directory, `${id}.json`), Buffer.alloc(2_000_000));
    if (name === "torn") writeFileSync(join(files.directory, `${id}.pem`), "-----BEGIN");
    if (name === "other") writeFileSync(join(files.directory, `${id}.pem`), authority.read("good.pem"));
  }
  assert.deepEqual(await prepare(authority.directory), ["good.example"]);
  assert.equal(warnings.length, 4);
  // The directory cannot be read.
  const broken = join(authority.directory, "broken");
  mkdirSync(broken);
  writeFileSync(join(broken, "on-demand"), "");
  assert.deepEqual(await prepare(broken), []);
  assert.equal(warnings.length, 5);
});

test("requests to ask that hang are limited in number and time, and deny their names only", async (t) => {
  const limits: AbortController[] = [];
  t.mock.method(AbortSignal, "timeout", () => {
    limits.push(new AbortController());
    return limits.at(-1)!.signal;
  });
  const asked: string[] = [];
  const server = createServer(({ url }) => void asked.push(new URL(url!, "http://a").searchParams.get("domain")!));
  await once(server.listen(0, "127.0.0.1"), "listening");
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const decided: string[] = [];
  const onDemand = makeOnDemand([], (_worker, message) => {
    if (message.type === "certificateDecided" && message.deniedUntil !== null) decided.push(message.name);
  });
  const ask = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  onDemand.take(await onDemand.prepare({ ...settings, ask }, sharedOf(authority.path("none"))));
  const names = Array.from({ length: 40 }, (_, i) => `a${i}.example`);
  const requests = [...names, ...names].map((name) => onDemand.request(0, name));
  for (const count of [16, 32, 40]) {
    while (asked.length < count) await setImmediate();
    // A further one would have come with these.
    assert.deepEqual([asked.length, decided.length], [count, count === 16 ? 0 : count === 32 ? 16 : 32]);
    for (const limit of limits.splice(0)) limit.abort();
  }
  await Promise.all(requests);
  assert.deepEqual(new Set(decided), new Set(names));
  assert.deepEqual([asked.length, decided.length, onDemand.counts.denied], [40, 40, 40]);
});
