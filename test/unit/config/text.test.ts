/** A scalar is the literal text of the file or variable, or its number, and never silently another. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { formatProblem, loadConfig } from "../../../src/config/load.ts";
import { readSettings } from "../../../src/config/plugin-schema.ts";

const ROOT = join(import.meta.dirname, "../../..");
const BASE = `listeners: { web: { address: ":1", cluster: a } }\nclusters: { a: ["a:1"] }\n`;

/** The value that a plugin with this schema gets, and the problems. */
function read(schema: object | null, yaml: string, env: Record<string, string> = {}) {
  const text = `${BASE}plugins: { p: { wasm: a.wasm, config: { v: ${yaml} } } }\n`;
  const { config, problems } = loadConfig(text, { file: "s.yaml", env });
  if (config === null) return { value: undefined, problems: problems.map(formatProblem) };
  const [plugin] = config.plugins;
  const whole = schema && JSON.stringify({ type: "object", properties: { v: schema } });
  const settings = readSettings(whole, plugin!.config, plugin!.at);
  return { value: (settings.value as { v: unknown }).v, problems: settings.problems.map(formatProblem) };
}

function accepts(schema: object | null, yaml: string, value: unknown, env?: Record<string, string>) {
  const found = read(schema, yaml, env);
  assert.deepEqual([found.value, found.problems], [value, []], yaml);
}

function refuses(schema: object | null, yaml: string, message: RegExp, env?: Record<string, string>) {
  const { problems } = read(schema, yaml, env);
  assert.equal(problems.length, 1, `${yaml}: ${problems.join("\n")}`);
  assert.match(problems[0]!, message, yaml);
  assert.match(problems[0]!, /^s\.yaml:3:44: plugins\.p\.config\.v: /, yaml);
}

/** Texts that some version of YAML reads as another type. */
const LOOKALIKES = [
  ...["1.10", "007", "12e4", "0x1F", "0o17", "010", "1_000", ".5", "5.", "+1", "-0", "1.0", "1e400", ".inf", ".NaN"],
  ...["356002209726529540123", "9007199254740993", "0.1000000000000000055", "12:30:45", "2026-11-30"],
  ...["true", "True", "FALSE", "no", "on", "Yes", "y", "=", "2026-11-30T01:02:03Z", "0b11", "1,000"],
];
const NOTHINGS = ["null", "Null", "NULL", "~"];

test("where a schema wants text, the text of the file is the value", () => {
  for (const schema of [
    { type: "string" },
    { type: ["string", "null"] },
    { anyOf: [{ type: "string" }] },
    { oneOf: [{ type: "string" }, { type: "object" }] },
    { type: ["string", "array"] },
  ])
    for (const text of LOOKALIKES) if (!text.includes(",")) accepts(schema, text, text);
  for (const text of LOOKALIKES) if (!text.includes(",")) accepts({ enum: [text, "other"] }, text, text);
  accepts({ type: "array", items: { type: "string" } }, "[1.10, 007, true]", ["1.10", "007", "true"]);
  accepts({ type: "object", additionalProperties: { type: "string" } }, "{ 1.10: 1.10, no: no, ~: 007 }", {
    "1.10": "1.10",
    no: "no",
    "~": "007",
  });
});

test("a variable's value is text, also if it looks like a number", () => {
  const values = [
    ...LOOKALIKES,
    ...NOTHINGS,
    "",
    "a: b",
    "[x]",
    '"',
    "'",
    "#",
    " # x",
    "\n",
    "&a",
    "*a",
    "!t",
    `$${"{V}"}`,
  ];
  for (const V of values)
    for (const schema of [null, { type: "string" }, { type: ["string", "number", "boolean"] }])
      for (const yaml of [`\${V}`, `"\${V}"`]) accepts(schema, yaml, V, { V });
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (V) => accepts({ type: "string" }, `\${V}`, V, { V })),
    { numRuns: 50 },
  );
});

test("a variable's value is converted where the schema expects another type than text", () => {
  accepts({ type: "integer" }, `\${V}`, 5, { V: "5" });
  accepts({ type: "integer" }, `"\${V}0"`, 50, { V: "5" });
  accepts({ type: "number" }, `\${V}`, 0.5, { V: ".5" });
  accepts({ type: "boolean" }, `\${V}`, false, { V: "false" });
  accepts({ type: ["boolean", "null"] }, `\${V}`, null, { V: "" });
  accepts({ enum: [1, 2] }, `\${V}`, 2, { V: "2" });
  for (const V of ["0x1F", "1_000", " 5", "5\n", "five", "", "true", "Infinity", ".inf"])
    refuses({ type: "number" }, `\${V}`, /expected a number/, { V });
  for (const V of ["True", "yes", "1", ""]) refuses({ type: "boolean" }, `\${V}`, /expected true or false/, { V });
});

test("where a schema wants a number, it is the number", () => {
  accepts({ type: "number" }, "1.10", 1.1);
  accepts({ type: "number" }, "12e4", 120_000);
  accepts({ type: "integer" }, "1.0", 1);
  accepts({ type: "integer" }, "9007199254740991", Number.MAX_SAFE_INTEGER);
  for (const yaml of ["9007199254740993", "-9007199254740993", "356002209726529540123"])
    refuses({ type: "integer" }, yaml, /is beyond 2\^53 and would be rounded: expected a number/);
  refuses({ type: "number" }, `\${V}`, /is beyond 2\^53/, { V: "356002209726529540123" });
  refuses({ type: "integer" }, '"5"', /invalid value "5": expected a whole number/);
});

test("ambiguous scalars are rejected, with what to write instead", () => {
  for (const schema of [null, {}, { type: ["string", "number", "boolean"] }, { anyOf: [{ type: "string" }, {}] }]) {
    for (const text of ["7", "-1.5", "0", "true", "false"]) accepts(schema, text, JSON.parse(text));
    refuses(schema, "1.10", /ambiguous value 1\.10: write "1\.10" in quotes for the text, or 1\.1 for the number/);
    refuses(schema, "007", /write "007" in quotes for the text, or 7 for the number/);
    refuses(schema, "12e4", /or 120000 for the number/);
    refuses(schema, "0x1F", /or 31 for the number/);
    refuses(schema, "True", /write "True" in quotes for the text, or true for the boolean/);
    refuses(schema, "356002209726529540123", /is not exact as a number: write "356002209726529540123" in quotes/);
    refuses(schema, ".inf", /is not exact as a number: write "\.inf" in quotes/);
    for (const text of LOOKALIKES) accepts(schema, `"${text}"`, text);
  }
  // Only one of the two is allowed, so the value is not ambiguous.
  accepts({ anyOf: [{ const: "auto" }, { type: "integer" }] }, "007", 7);
  accepts(
    {
      anyOf: [
        { type: "string", minLength: 3 },
        { type: "integer", maximum: 5 },
      ],
    },
    "007",
    "007",
  );
  refuses(
    { type: ["string", "number"], writeOnly: true },
    "0123456789",
    /ambiguous value: write the secret in quotes$/,
  );
});

test("null is no value, and a text only in quotes", () => {
  for (const text of ["null", "~"]) {
    accepts(null, text, null);
    accepts({ type: ["string", "null"] }, text, null);
    refuses({ type: "string" }, text, /missing value: expected a string: write ".*" in quotes for the text/);
  }
  accepts({ type: "string" }, '"null"', "null");
  refuses(null, "NULL", /ambiguous value NULL: write "NULL" in quotes for the text, or null for no value/);
  const { problems } = loadConfig(
    BASE.replace("cluster: a", "routes: [{ match: { headers: { x: ~ } }, cluster: a }]"),
    {
      file: "s.yaml",
      env: {},
    },
  );
  assert.match(problems.map(formatProblem).join("\n"), /missing value: .*: write "~" in quotes for the text$/);
});

test("text settings of the core are taken literally, as are keys", () => {
  const { config, problems } = loadConfig(
    `listeners:
  007: { address: ":1", routes: [{ name: 1.10, match: { headers: { x-a: 12e4, x-b: no }, query: { 1.0: \${V} } }, cluster: 0x1F }] }
clusters: { 0x1F: [{ address: "a:1", zone: 010 }] }
`,
    { file: "s.yaml", env: { V: "null" } },
  );
  assert.deepEqual(problems, []);
  const [listener] = config!.listeners;
  const [route] = listener!.routes;
  assert.deepEqual([listener?.name, route?.name, config?.clusters[0]?.name], ["007", "1.10", "0x1F"]);
  assert.deepEqual(route?.match, { headers: { "x-a": "12e4", "x-b": "no" }, query: { "1.0": "null" } });
  assert.equal(config?.clusters[0]?.endpoints[0]?.zone, "010");
});

test("text settings of built-in filters are taken literally", () => {
  const schemaOf = (name: string) => readFileSync(join(ROOT, `plugins/${name}.schema.json`), "utf8");
  const cases: [plugin: string, yaml: string, value: unknown][] = [
    ["api-key", "{ keys: { 1: 356002209726529540123 } }", { keys: { 1: "356002209726529540123" } }],
    ["basic-auth", "{ users: { 007: 0123 }, realm: 1.10 }", { users: { "007": "0123" }, realm: "1.10" }],
    [
      "jwt",
      "{ keys: [{ alg: HS256, kid: 2026, secret: 12e4 }] }",
      { keys: [{ alg: "HS256", kid: "2026", secret: "12e4" }] },
    ],
    [
      "headers",
      "{ request: { set: { x-a: 1.10, x-b: 007, x-c: yes }, add: { x-d: [12e4, true], x-e: 0x1F } } }",
      {
        request: {
          set: { "x-a": "1.10", "x-b": "007", "x-c": "yes" },
          add: { "x-d": ["12e4", "true"], "x-e": "0x1F" },
        },
      },
    ],
  ];
  for (const [plugin, yaml, value] of cases) {
    const text = `${BASE}plugins: { p: { wasm: a.wasm, config: ${yaml} } }\n`;
    const { config } = loadConfig(text, { file: "s.yaml", env: {} });
    assert.deepEqual(readSettings(schemaOf(plugin), config!.plugins[0]!.config, config!.plugins[0]!.at), {
      value,
      problems: [],
    });
  }
});

test("malformed variables are rejected, at their place", () => {
  const cases: [yaml: string, column: number, message: RegExp, env?: Record<string, string>][] = [
    [`"a \${NOPE"`, 13, /without a variable's name and "\}" after it/],
    [`a \${NOPE`, 12, /without a variable's name and "\}" after it/],
    [`"\\t\\" \${A} \${1}"`, 21, /without a variable's name/, { A: "x" }],
    [`\${A-x}`, 10, /without a variable's name/, { A: "x" }],
    [`\${A:?x}`, 10, /without a variable's name/, { A: "x" }],
    [`\${A:-\${B C}}`, 15, /without a variable's name/, { A: "x" }],
    [`\${A:-\${B}}`, 15, /the environment variable B is not set/],
    [`\${A:-`.repeat(9) + "}".repeat(9), 50, /too many defaults within each other, expected at most 8/],
  ];
  for (const [yaml, column, message, env = {}] of cases) {
    const { problems } = loadConfig(`${BASE}workers: ${yaml}\n`, { file: "s.yaml", env });
    assert.equal(problems.length, 1, yaml);
    assert.match(problems[0]!.message, message, yaml);
    assert.deepEqual([problems[0]!.line, problems[0]!.column], [3, column], yaml);
  }
});

test("defaults may contain variables and braces, and end at the closing brace", () => {
  const cases: [yaml: string, value: string, env?: Record<string, string>][] = [
    [`\${REGION:-\${ZONE}}`, "eu-1", { REGION: "eu-1", ZONE: "z9" }],
    [`\${REGION:-\${ZONE}}`, "z9", { ZONE: "z9" }],
    [`\${REGION:-\${ZONE}}`, "z9", { REGION: "", ZONE: "z9" }],
    [`x\${A:-\${B:-\${C:-c}}-b}y`, "xc-by"],
    [`\${A:-\${B:-}}`, ""],
    [`'\${A:-{"k": [1, {}]}}'`, '{"k": [1, {}]}'],
    [`\${A:-{x}}`, "val", { A: "val" }],
    [`\${A:-[a, b]}`, "[a, b]"],
    [`$\${A}`, `$${"{A}"}`],
    [`\${A:-$\${B}}`, `$${"{B}"}`],
    [`\${A}$\${B}`, `x$${"{B}"}`, { A: "x" }],
    [`\${A:-\${toString:-none}}`, "none"],
  ];
  for (const [yaml, value, env] of cases) accepts({ type: "string" }, yaml, value, env);
});

test("YAML that would change meaning silently is rejected", () => {
  const cases: [text: string, message: RegExp][] = [
    [`%YAML 1.1\n---\n${BASE}`, /^s\.yaml:1:1: the file says %YAML 1\.1, expected 1\.2, or no such line$/],
    [`${BASE}workers: !!int "5"\n`, /^s\.yaml:3:16: workers: tags are not supported/],
    [`${BASE}plugins: { p: { wasm: a, config: { \${A}: 1 } } }\n`, /variables are not expanded in keys/],
    [`${BASE}# \u{fdd0}\n`, /a character from U\+FDD0/],
    [`${BASE}plugins: { p: { wasm: a, config: { 1: a, "1": b } } }\n`, /duplicate key "1"/],
  ];
  for (const [text, message] of cases) {
    const { problems } = loadConfig(text, { file: "s.yaml", env: { A: "x" } });
    assert.match(problems.map(formatProblem).join("\n"), message, text);
  }
  const { config } = loadConfig(`%YAML 1.2\n---\n${BASE}workers: !!str 5\n`, { file: "s.yaml", env: {} });
  assert.equal(config?.workers, 5);
});
