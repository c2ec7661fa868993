/** docs/abi.md lists every export, hook, import and number of the ABI, and no others. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import * as abi from "../../src/abi/abi.ts";
import { PRICE, SURCHARGE } from "../../src/abi/prices.ts";

const page = readFileSync(join(import.meta.dirname, "../../docs/abi.md"), "utf8");
const cells = Array.from(
  page.matchAll(/^\| `([^`]+)`( -?\d+)?(?: \+ n)? \|/gm),
  ([, name, number = ""]) => name! + number,
);

test("the tables list exactly the exports, hooks, imports, attributes and columns", () => {
  const calls = Object.values(abi.IMPORTS).flatMap((group) => Object.keys(group));
  const listed = cells.map((cell) => cell.replace(/\(.*/, ""));
  const numbered = (group: Readonly<Record<string, number>>) =>
    Object.entries(group).map(([name, n]) => `${name} ${n}`);
  assert.deepEqual(
    listed.toSorted(),
    [
      ...Object.values(abi.EXPORT),
      ...abi.HOOKS,
      ...calls,
      ...numbered(abi.ATTRIBUTE),
      ...numbered(abi.COLUMN),
    ].toSorted(),
  );
});

test("each call is listed with its parameters, and each hook with its results", () => {
  for (const group of Object.values(abi.IMPORTS))
    for (const [name, { params }] of Object.entries(group as Record<string, abi.Import>)) {
      const [, list] = new RegExp(`^\\| \`${name}\\(([^)]*)\\)`, "m").exec(page)!;
      assert.equal(list!.split(", ").filter(Boolean).length, params.length, name);
    }
  for (const hook of abi.HOOKS) {
    const [, results] = new RegExp(`^\\| \`${hook}\` \\|.*\\| ([^|]+) \\|$`, "m").exec(page)!;
    if (hook === "pick") continue;
    assert.deepEqual(results!.match(/\d/g)!.map(Number), [...abi.HOOK_RESULTS[hook]], hook);
  }
});

test("the tables have every limit and price", () => {
  const row = (what: string) => new RegExp(`^\\| ${what}.*$`, "m").exec(page)?.[0] ?? assert.fail(`no row for ${what}`);
  const numbersOf = (what: string) => [...row(what).matchAll(/(?<!`)\b\d+\b/g)].map(([number]) => Number(number));
  const { LIMIT, FUEL } = abi;
  const rows: [what: string, numbers: number[]][] = [
    ["a module", [LIMIT.moduleBytes]],
    ["one function's code", [LIMIT.functionBytes]],
    ["its locals", [LIMIT.locals, LIMIT.nesting]],
    ["its values to merge", [LIMIT.merged]],
    ["imports;", [LIMIT.imports, LIMIT.types, LIMIT.functions, LIMIT.globals, LIMIT.exports, LIMIT.tags]],
    ["entries of all", [LIMIT.elements, LIMIT.customSections]],
    ["the schema of the configuration", [LIMIT.configSchema]],
    ["tables", [LIMIT.tables, LIMIT.tableEntries]],
    ["a header's name", [LIMIT.headerName]],
    ["a header's value", [LIMIT.headerValue]],
    ["a head,", [LIMIT.headBytes, LIMIT.headerCount]],
    ["names of one request", [LIMIT.ownedNames]],
    ["the body given", [LIMIT.responseBody]],
    ["a request of", [LIMIT.fetchUrl, LIMIT.fetchHead, LIMIT.fetchBody, LIMIT.fetchResponse]],
    ["what `probe` sends", [LIMIT.probeText, LIMIT.probeAnswer]],
    ["the key of a value", [LIMIT.exchangeKey]],
    ["values of an exchange", [LIMIT.exchangeValues, LIMIT.exchangeValue]],
    ["metrics that a plugin", [LIMIT.metrics, LIMIT.metricLabels]],
    ["labels known at run time", [LIMIT.metricValues, LIMIT.metricValue]],
    ["the name of a metric", [LIMIT.metricName]],
    ["help, or labels", [LIMIT.metricText]],
    ["buckets of", [LIMIT.metricBuckets]],
    ["the key of a key-value", [LIMIT.kvKey]],
    ["a key-value entry", [LIMIT.kvValue]],
    ["the path of a configuration", [LIMIT.configPath]],
    ["what `save` saves", [LIMIT.state]],
    ["the interval of `tick`", [LIMIT.shortestTick, LIMIT.longestTick]],
    ["a log line", [LIMIT.logLine]],
    ["fields of a line", [LIMIT.logFields, LIMIT.logFieldName, LIMIT.logFieldValue]],
    ["a public key", [LIMIT.publicKey]],
    ["random bytes", [LIMIT.randomBytes]],
    ["log lines", [LIMIT.logLinesPerCall, LIMIT.logLinesPerSecond]],
    ["a host call", [FUEL.hostCall, FUEL.bytesPerUnit]],
  ];
  assert.equal(
    new Set(rows.flatMap(([, numbers]) => numbers)).size,
    new Set([...Object.values(LIMIT), FUEL.hostCall, FUEL.bytesPerUnit]).size,
  );
  const { digest, hmac, random, verify, key, bytesPerUnit } = abi.CRYPTO_FUEL;
  rows.push(
    ["of these, `digest`", [digest, bytesPerUnit]],
    ["of these, `hmac`", [hmac, bytesPerUnit]],
    ["of these, `random_bytes`", [random]],
  );
  rows.push(["of these, `verify`", [verify, key, bytesPerUnit]]);
  const units = (price: number) => price / PRICE.perUnit;
  rows.push(
    ["entering a function", [PRICE.entry]],
    ["each turn of a loop", [PRICE.turn]],
    ["an instruction that reads memory", [units(SURCHARGE.load)]],
    ["an atomic instruction", [units(SURCHARGE.fence)]],
    ["`call_indirect`", [units(SURCHARGE.indirect)]],
    ["`ref.func`", [SURCHARGE.function, SURCHARGE.tableGet, SURCHARGE.tableSet].map(units)],
    ["a bulk operation of memory", [units(SURCHARGE.bulkMemory), PRICE.bulkBytes]],
    ["a bulk operation of a table", [units(SURCHARGE.bulkTable), PRICE.tableEntry]],
    ["growing memory", [PRICE.grow, PRICE.growPage]],
    ["an exception", [PRICE.throw]],
  );
  for (const [what, numbers] of rows)
    assert.ok(
      numbers.every((number) => numbersOf(what).includes(number)),
      what,
    );
  assert.ok(page.includes(`${FUEL.default} by default, and ${FUEL.perByte} more for each byte`));
  assert.ok(page.includes(`\`configure\` have ${FUEL.start}, and ${FUEL.perConfigByte} more for each byte`));
});

test("the text has the other numbers", () => {
  const { RESULT, STATUS, HEADERS, ENDPOINT_TEXT, ATTEMPT, LEVEL, METRIC, DIGEST, SIGNATURE } = abi;
  for (const group of [RESULT, STATUS, HEADERS, ENDPOINT_TEXT, ATTEMPT, LEVEL, METRIC, DIGEST, SIGNATURE])
    for (const [name, number] of Object.entries(group))
      assert.ok(page.includes(`\`${name}\` ${number}`), `${name} ${number}`);
  assert.match(page, new RegExp(`ABI, version ${abi.ABI_VERSION}\n`));
});
