import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import {
  AccountFile,
  CertificateFiles,
  directoryOf,
  fileNameOf,
  NEW_STATE,
} from "../../../../src/control/acme/storage.ts";

const root = mkdtempSync(join(tmpdir(), "sluice-storage-"));
test.after(() => rmSync(root, { recursive: true }));

test("each server has a directory, each set of names a file", () => {
  assert.match(directoryOf("/s", "https://ca.example:14000/dir"), /^\/s\/ca\.example-[0-9a-f]{16}$/);
  assert.notEqual(directoryOf("/s", "https://ca.example/a"), directoryOf("/s", "https://ca.example/b"));
  assert.equal(fileNameOf(["a.example", "b.example"]).slice(9), fileNameOf(["a.example", "b.example"]).slice(9));
  assert.equal(
    fileNameOf(["a.example", "b.example"]).split("-").at(-1),
    fileNameOf(["b.example", "a.example"]).split("-").at(-1),
  );
  assert.ok(fileNameOf([`${"a".repeat(60)}.`.repeat(4).slice(0, -1)]).length < 130);
});

test("files are replaced as a whole and readable for the owner only", async () => {
  const files = new CertificateFiles(join(root, "new", "certificates"));
  assert.deepEqual(
    [await files.readState("a"), await files.readCertificate("a"), await files.list()],
    [null, null, []],
  );
  const state = { ...NEW_STATE, names: ["a.example"], failures: 3, problem: "x", nextTry: 5 };
  await files.writeState("a", state);
  await files.writeCertificate("a", { key: "KEY\n", cert: "-----BEGIN CERTIFICATE-----\n" });
  assert.deepEqual(await files.readState("a"), state);
  assert.deepEqual(await files.readCertificate("a"), { key: "KEY\n", cert: "-----BEGIN CERTIFICATE-----\n" });
  assert.deepEqual(await files.list(), ["a"]);
  assert.equal(statSync(join(root, "new")).mode & 0o777, 0o700);
  for (const file of readdirSync(files.directory)) {
    assert.equal(statSync(join(files.directory, file)).mode & 0o777, 0o600, file);
    assert.doesNotMatch(file, /tmp/);
  }
  // As after a crash during a write.
  writeFileSync(join(files.directory, "a.json.tmp"), "{");
  assert.deepEqual(await files.readState("a"), state);
  await files.writeState("a", NEW_STATE);
  assert.deepEqual(await files.readState("a"), NEW_STATE);
  await files.remove("a");
  assert.deepEqual(readdirSync(files.directory), []);
  // As on a full disk, whose errors name no file.
  const path = join(files.directory, "a.json");
  mkdirSync(path);
  await assert.rejects(files.writeState("a", state), new RegExp(`^Error: ${path} cannot be written: E`));
  assert.deepEqual(readdirSync(files.directory), ["a.json"]);
});

test("a damaged state begins again; a damaged account is an error, since a new one would replace it", async () => {
  const files = new CertificateFiles(root);
  writeFileSync(join(root, "b.json"), "{ damaged");
  assert.equal(await files.readState("b"), null);
  const account = new AccountFile(root);
  assert.equal(await account.read(), null);
  writeFileSync(account.path, "{ damaged");
  await assert.rejects(account.read(), /account\.json is not the file of an account/);
  const saved = { key: "k", url: "u", contact: ["mailto:a@b.example"], externalKey: "e" };
  await account.write(saved);
  assert.deepEqual(await account.read(), saved);
  writeFileSync(account.path, " ".repeat(2 ** 20 + 1));
  await assert.rejects(account.read(), /has more than 1048576 bytes/);
});
