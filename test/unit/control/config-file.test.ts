import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { readConfigFile } from "../../../src/control/config-file.ts";
import { makeDirectory } from "./parts.ts";

test("a file with another encoding is rejected, as is a directory", async (t) => {
  const directory = makeDirectory(t);
  const file = join(directory, "sluice.yaml");
  await assert.rejects(readConfigFile(directory), /: is a directory, expected a file$/);
  await assert.rejects(readConfigFile(file), /: no such file$/);
  writeFileSync(file, Buffer.from("a: 1\nb: caf\xe9\n", "latin1"));
  await assert.rejects(readConfigFile(file), /sluice\.yaml:2:7: invalid UTF-8/);
  writeFileSync(file, Buffer.from("\ufeffa: caf\u00e9\n", "utf16le"));
  await assert.rejects(readConfigFile(file), /sluice\.yaml:1:1: invalid UTF-8/);
  for (const bytes of [Buffer.from("\ufeffa: 1\n", "utf16le").swap16(), Buffer.from("a: 1\n", "utf16le")]) {
    writeFileSync(file, bytes);
    await assert.rejects(readConfigFile(file), /sluice\.yaml:1:1: invalid UTF-8: the file is UTF-16$/);
  }
  writeFileSync(file, "\ufeffa: caf\u00e9\n");
  assert.equal(await readConfigFile(file), "a: caf\u00e9\n");
});
