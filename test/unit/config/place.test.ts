import assert from "node:assert/strict";
import { test } from "node:test";
import { formatProblem, hint } from "../../../src/config/place.ts";

test("a problem is one line of plain text for any message", () => {
  const at = { file: "s.yaml", line: 3, column: 7, path: "plugins.p" };
  for (const [message, shown] of [
    ["start: no\n  at f (a.ts:1:2)", "start: no, at f (a.ts:1:2)"],
    ["\x1b[2Jgone\x07", "?[2Jgone?"],
    ["all is well\r", "all is well?"],
    ["grüße, 世界", "grüße, 世界"],
  ] as const)
    assert.equal(formatProblem({ ...at, message }), `s.yaml:3:7: plugins.p: ${shown}`);
});

test("a known word is suggested only if it is similar", () => {
  for (const [word, shown] of [
    ["hots", 'did you mean "host"'],
    ["hosst", 'did you mean "host"'],
    ["statsu", 'did you mean "status"'],
    ["port", "expected one of host, status"],
    ["x", "expected one of host, status"],
  ] as const)
    assert.equal(hint(word, ["host", "status"]), shown);
});
