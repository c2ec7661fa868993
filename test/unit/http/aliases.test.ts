import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { isAlias, removeAliases } from "../../../src/http/aliases.ts";
import { nameId } from "../../../src/http/fields.ts";
import { Head } from "../../../src/http/head.ts";

const TOKEN = "!#$%&'*+-.^_`|~abzABZ059";
const name = fc.array(fc.constantFrom(...TOKEN), { minLength: 1, maxLength: 6 }).map((chars) => chars.join(""));
/** The variable of a name, as CGI and similar interfaces derive it. */
const variable = (text: string): string => text.toUpperCase().replace(/[^A-Z0-9]/g, "_");

test("two names are aliases if servers derive the same variable from them", () => {
  fc.assert(
    fc.property(name, name, fc.nat(3), (a, b, at) => {
      const [left, right] = [Buffer.from(" ".repeat(at) + a), Buffer.from(b)];
      assert.equal(isAlias(left, at, left.length, right, 0, right.length), variable(a) === variable(b));
    }),
    { numRuns: 2000 },
  );
});

test("all aliases of a name are removed, and no other field", () => {
  const head = new Head(16, 1);
  const names = ["X-User", "x_user", "X.User", "x~USER", "x!user", "x-users", "xuser", "x--user", "Host", "X_Real_IP"];
  for (const text of names) {
    const bytes = Buffer.from(text);
    head.add(bytes, Buffer.from("v"), nameId(bytes, 0, bytes.length));
  }
  const wanted = Buffer.from("-x-user-");
  assert.equal(removeAliases(head, wanted, 1, 7), 5);
  assert.equal(removeAliases(head, wanted, 1, 7), 0);
  assert.deepEqual(
    names.filter((text) => head.get(text) !== undefined),
    ["x-users", "xuser", "x--user", "Host"],
  );
});
