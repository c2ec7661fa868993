/** Certificates on demand that were saved: what is damaged on disk is left out, and stops neither a start nor a reload. */
import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import type { Account } from "../../../../src/control/acme/account.ts";
import { OnDemand } from "../../../../src/control/acme/on-demand.ts";
import { CertificateFiles, fileNameOf, NEW_STATE } from "../../../../src/control/acme/storage.ts";
import { Slots } from "../../../../src/control/task-slots.ts";
import { ThrottledLog } from "../../../../src/observe/throttled-log.ts";
import { Authority } from "../../../support/certificates.ts";

const authority = new Authority();
test.after(() => authority.remove());

test("damaged files of certificates on demand are left out", async () => {
  const warnings: unknown[] = [];
  const onDemand = new OnDemand({
    context: {
      ...{ slots: new Slots(1), onServed: async () => {}, count: () => {}, now: Date.now, random: () => 0 },
      log: { info: () => {}, error: () => {}, warn: (fields: unknown) => void warnings.push(fields) },
      warnings: new ThrottledLog(
        () => {},
        () => 0,
      ),
      board: { publish: async () => {}, withdraw: () => {} },
    },
    workers: () => ({ up: () => [], post: () => {} }),
    signal: new AbortController().signal,
    removed: () => {},
  });
  const settings = { names: ["*.example"], limit: 10, rate: 1, ocsp: "off", listeners: [] } as const;
  const prepare = async (root: string) => {
    const shared = {
      ...({ account: {} as Account, root, challenges: [], keyType: "p256", onDemand: true } as const),
      findDenial: async () => "",
    };
    return [...(await onDemand.prepare(settings, shared)).loaded.keys()];
  };
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
