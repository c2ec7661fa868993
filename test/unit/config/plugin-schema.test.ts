/** Schemas of plugins: which are rejected, and the problems of a configuration that violates one, with their place. */
import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { formatProblem, loadConfig } from "../../../src/config/load.ts";
import { readPluginSchema, readSettings } from "../../../src/config/plugin-schema.ts";
import { KEYWORDS } from "../../../src/config/schema-keywords.ts";
import { parseTree } from "../../../src/config/tree.ts";

const ROOT = join(import.meta.dirname, "../../..");

/** The problems of a configuration, passed as YAML that begins in line 4, column 5. */
function check(schema: unknown, yaml: string): string[] {
  const text = `listeners: { web: { address: ":1", cluster: a } }\nclusters: { a: ["a:1"] }\nplugins: { p: { wasm: a.wasm, config:\n    ${yaml} } }\n`;
  const { config, problems } = loadConfig(text, { file: "s.yaml", env: { N: "5" } });
  assert.deepEqual(problems, []);
  const [plugin] = config!.plugins;
  return readSettings(JSON.stringify(schema), plugin!.config, plugin!.at).problems.map(formatProblem);
}

function refuses(schema: string | object): string[] {
  const text = typeof schema === "string" ? schema : JSON.stringify(schema, null, 2);
  return readPluginSchema(text, "p.schema.json").problems.map(formatProblem);
}

describe("a schema", () => {
  test("with an unsupported keyword is rejected, with its place", () => {
    assert.deepEqual(refuses('{\n  "type": "object",\n  "properties": {\n\t"a": { "minLenght": 2 }\n  }\n}'), [
      'p.schema.json:4:9: properties.a.minLenght: the keyword "minLenght" would not be checked, did you mean "minLength"',
    ]);
    for (const keyword of ["if", "$ref", "format", "patternProperties", "not", "allOf", "dependentRequired"])
      assert.match(refuses({ [keyword]: true }).join(), /would not be checked/, keyword);
  });

  test("that contradicts itself is rejected", () => {
    const cases: [schema: string | object, problem: RegExp][] = [
      ["{", /:2:1: not valid YAML|:1:\d+: not valid YAML/],
      ["a: 1", /:1:1: not JSON/],
      ["[]", /:1:1: expected a schema, which is a map/],
      [{ type: "text" }, /:2:11: type: expected one of string, integer/],
      [{ properties: [] }, /properties: expected a map of names to schemas/],
      [{ required: "a" }, /required: expected a list/],
      [{ required: [1] }, /required\.0: expected a string/],
      [{ required: ["a"], additionalProperties: false }, /"a" is required and not among the properties/],
      [{ enum: [{}] }, /enum\.0: expected a string, a number/],
      [{ enum: [1], const: 1 }, /both enum and const/],
      [{ pattern: "(a" }, /pattern: not a regular expression of RE2's syntax/],
      [{ pattern: "(?=a)" }, /pattern: not a regular expression of RE2's syntax/],
      [{ pattern: "((a{50}){50}){50}" }, /pattern: (the expression is too large|not a regular expression)/],
      [{ minLength: -1 }, /minLength: expected a whole number from 0/],
      [{ minimum: "1" }, /minimum: expected a number/],
      [{ uniqueItems: 1 }, /uniqueItems: expected true or false/],
      [{ anyOf: [] }, /anyOf: expected a list of schemas/],
      [{ items: true }, /items: expected a schema/],
      [{ type: "integer", default: "1" }, /default: the default is not allowed: invalid value "1": expected a whole/],
      [{ description: "x".repeat(70_000) }, /the schema is 70\d+ bytes, the limit is 65536/],
      [{ anyOf: Array.from({ length: 1001 }, () => ({})) }, /too many schemas, expected at most 1000/],
    ];
    for (const [schema, problem] of cases) assert.match(refuses(schema).join("\n"), problem, JSON.stringify(schema));
  });

  test("can contain a dollar and a brace without substitution", () => {
    assert.deepEqual(refuses({ type: "string", pattern: "^\\$\\{", default: `\${X}` }), []);
  });
});

test("a configuration that violates its schema is reported at its place", () => {
  const object = (properties: object, more = {}) => ({ type: "object", properties, ...more });
  const cases: [schema: object, yaml: string, problems: string[]][] = [
    [object({ a: { type: "string" } }), "{ a: x }", []],
    [
      object({ a: { type: "string" }, b: {} }),
      "x",
      ['5:5: plugins.p.config: invalid value "x": expected a map with keys such as a, b'],
    ],
    [
      object({ a: object({ on: {} }) }),
      "{ a: on }",
      ['5:10: plugins.p.config.a: invalid value "on": expected a map, such as { on: … }'],
    ],
    [
      object({ a: { type: "string" } }),
      "{ a: [5] }",
      ["5:10: plugins.p.config.a: invalid value (a list): expected a string"],
    ],
    [object({ a: { type: "integer" } }), `{ a: \${N}, b: 1 }`, []],
    [
      object({ a: { type: "integer", minimum: 6, maximum: 9 } }),
      `{ a: \${N} }`,
      ['5:10: plugins.p.config.a: invalid value "5": expected a whole number from 6 to 9'],
    ],
    [
      object({ a: { type: "number", exclusiveMinimum: 0 } }),
      "{ a: 0 }",
      ['5:10: plugins.p.config.a: invalid value "0": expected a number above 0'],
    ],
    [
      object({ a: { type: "number", maximum: 9 }, b: { type: "number" }, c: { type: ["number", "string"] } }),
      "{ a: .nan, b: -.inf, c: .inf }",
      [
        '5:10: plugins.p.config.a: invalid value ".nan": expected a number to 9',
        '5:19: plugins.p.config.b: invalid value "-.inf": expected a number',
        '5:29: plugins.p.config.c: .inf is not exact as a number: write ".inf" in quotes for the text',
      ],
    ],
    [
      object({ header: {}, limit: {} }, { additionalProperties: false }),
      "{ heder: x, other: y }",
      [
        '5:7: plugins.p.config.heder: unknown key "heder", did you mean "header"',
        '5:17: plugins.p.config.other: unknown key "other", expected one of header, limit',
      ],
    ],
    [
      object({ a: { type: ["string", "null"], maxLength: 2 } }, { required: ["a"] }),
      "{}",
      ['5:5: plugins.p.config: the key "a" is missing, expected a string of at most 2 characters or nothing'],
    ],
    [object({ a: { type: "string" } }), "{ a: }", ["5:10: plugins.p.config.a: missing value: expected a string"]],
    [
      object({ a: { type: "array", items: { enum: ["x", "y"] }, uniqueItems: true, maxItems: 2 } }),
      "{ a: [x, z, x] }",
      [
        "5:10: plugins.p.config.a: 3 entries: expected 0 to 2",
        '5:14: plugins.p.config.a.1: invalid value "z": expected one of x, y',
        '5:17: plugins.p.config.a.2: duplicate value "x"',
      ],
    ],
    [
      object({ a: { type: "string", pattern: "^[a-z]+$" } }),
      "{ a: A }",
      ['5:10: plugins.p.config.a: invalid value "A": expected a string that matches ^[a-z]+$'],
    ],
    [
      { type: "object", propertyNames: { pattern: "^x-" }, additionalProperties: { const: true } },
      "{ x-a: true, b: false }",
      [
        '5:18: plugins.p.config.b: the key "b" is not allowed, expected a string that matches ^x-',
        '5:21: plugins.p.config.b: invalid value "false": expected true',
      ],
    ],
    [
      object({ a: { anyOf: [{ type: "string" }, { type: "array", items: { type: "string" } }] } }),
      "{ a: [{}] }",
      ["5:11: plugins.p.config.a.0: invalid value (a map): expected a string"],
    ],
    [
      object({ a: { anyOf: [{ type: "string" }, { type: "integer" }] } }),
      "{ a: [] }",
      ["5:10: plugins.p.config.a: invalid value (a list): expected a string, or a whole number"],
    ],
    [
      object({ a: {}, b: {} }, { oneOf: [{ required: ["a"] }, { required: ["b"] }] }),
      "{ a: 1, b: 2 }",
      ["5:5: plugins.p.config: expected one of the keys a, b, found a and b"],
    ],
    [
      object({ a: {}, b: {} }, { oneOf: [{ required: ["a"] }, { required: ["b", "c"] }] }),
      "{ b: 2 }",
      ['5:5: plugins.p.config: the key "c" is missing'],
    ],
    [
      object({ a: { type: "string", format: "path" }, b: { items: { type: "string", format: "target" } } }),
      "{ a: /a?b, b: [/, x] }",
      [
        '5:10: plugins.p.config.a: invalid value "/a?b": expected a path that begins with /',
        '5:23: plugins.p.config.b.1: invalid value "x": expected a path that begins with /, with a query or without',
      ],
    ],
    [
      object({ a: { type: "string", format: "path", maxLength: 4 } }),
      "{ a: /12345 }",
      ['5:10: plugins.p.config.a: invalid value "/12345": expected a path that begins with / of at most 4 characters'],
    ],
    // The misspelt key is the missing one.
    [
      object({ origins: {}, key: {} }, { required: ["origins", "key"], additionalProperties: false }),
      "{ origin: a }",
      [
        '5:7: plugins.p.config.origin: unknown key "origin", did you mean "origins"',
        '5:5: plugins.p.config: the key "key" is missing, expected a value',
      ],
    ],
    [{ type: "string" }, "{ a: 1 }", ["5:5: plugins.p.config: invalid value (a map): expected a string"]],
    [
      object({ a: { type: "string" } }, { required: ["a"] }),
      "null",
      ['5:5: plugins.p.config: the key "a" is missing, expected a string'],
    ],
  ];
  for (const [schema, yaml, problems] of cases)
    assert.deepEqual(
      check(schema, yaml),
      problems.map((problem) => `s.yaml:${problem.replace(/^5:/, "4:")}`),
      yaml,
    );
});

test("a path is normalised like those of requests", () => {
  const schema = {
    type: "object",
    properties: {
      path: { type: "string", format: "path" },
      list: { type: ["array", "string"], items: { type: "string", format: "target" } },
      to: { type: "string", format: "uri-template" },
      plain: { type: "string" },
    },
  };
  const config = { path: "/caf%c3%a9/../%7e", list: ["/%7e?%7e"], to: "{path}/%7e", plain: "/%7e" };
  const { tree } = parseTree(JSON.stringify(config), { file: "c", env: null });
  const at = { file: "c", line: 1, column: 1, path: "" };
  const { value, problems } = readSettings(JSON.stringify(schema), { tree: tree! }, at);
  assert.deepEqual(problems, []);
  assert.deepEqual(value, { path: "/~", list: ["/~?%7e"], to: "{path}/~", plain: "/%7e" });
});

test("every keyword is in the guide", () => {
  const guide = readFileSync(join(ROOT, "docs/plugins.md"), "utf8");
  for (const keyword of KEYWORDS) assert.ok(guide.includes(`\`${keyword}\``), keyword);
});

test("the schema of every built-in is valid, and has a description for each key", () => {
  const files = globSync("plugins/*.schema.json", { cwd: ROOT });
  assert.ok(files.length > 0);
  for (const file of files) {
    const { schema, problems } = readPluginSchema(readFileSync(join(ROOT, file), "utf8"), file);
    assert.deepEqual(problems, []);
    for (const [key, { description }] of schema!.properties) assert.notEqual(description, "", `${file}: ${key}`);
  }
});
