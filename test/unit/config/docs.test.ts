import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { makeDocs } from "../../../scripts/build-docs.ts";

test("docs/configuration.md is generated from the schema (node scripts/build-docs.ts)", () => {
  assert.equal(readFileSync(new URL("../../../docs/configuration.md", import.meta.url), "utf8"), makeDocs());
});
