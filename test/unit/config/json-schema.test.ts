import assert from "node:assert/strict";
import { test } from "node:test";
import { parse } from "yaml";
import { makeJsonSchema } from "../../../src/config/json-schema.ts";
import { loadConfig } from "../../../src/config/load.ts";

type Json = Record<string, unknown>;
const whole = makeJsonSchema() as Json;

/** As much of JSON Schema as the generated one uses; an unknown keyword fails the test. */
const KEYWORDS: Record<string, (limit: never, value: unknown, schema: Json) => boolean> = {
  anyOf: (all: Json[], value) => all.some((one) => isValid(one, value)),
  $ref: (_: string, value) => isValid((whole.$defs as Json).variable as Json, value),
  type: (types: string | string[], value) => [types].flat().some((type) => isOfType(type, value)),
  enum: (all: unknown[], value) => all.includes(value),
  const: (one: unknown, value) => value === one,
  pattern: (pattern: string, value) => typeof value !== "string" || new RegExp(pattern).test(value),
  minimum: (least: number, value) => typeof value !== "number" || value >= least,
  maximum: (most: number, value) => typeof value !== "number" || value <= most,
  minLength: (least: number, value) => typeof value !== "string" || value.length >= least,
  maxLength: (most: number, value) => typeof value !== "string" || value.length <= most,
  items: (item: Json, value) => !Array.isArray(value) || value.every((one) => isValid(item, one)),
  required: (keys: string[], value) => !isMap(value) || keys.every((key) => Object.hasOwn(value, key)),
  minProperties: (least: number, value) => !isMap(value) || Object.keys(value).length >= least,
  maxProperties: (most: number, value) => !isMap(value) || Object.keys(value).length <= most,
  propertyNames: (name: Json, value) => !isMap(value) || Object.keys(value).every((key) => isValid(name, key)),
  properties: (properties: Record<string, Json>, value) =>
    !isMap(value) || Object.entries(value).every(([key, one]) => !properties[key] || isValid(properties[key], one)),
  additionalProperties: (rest: Json | false, value, schema) =>
    !isMap(value) ||
    Object.entries(value).every(
      ([key, one]) => Object.hasOwn(schema.properties ?? {}, key) || (rest !== false && isValid(rest, one)),
    ),
};
const NOTES = ["description", "default", "title", "$schema", "$defs"];

function isValid(schema: Json, value: unknown): boolean {
  return Object.entries(schema).every(([keyword, limit]) => {
    if (NOTES.includes(keyword)) return true;
    const check = KEYWORDS[keyword];
    assert.ok(check, `the test does not know ${keyword}`);
    return check(limit as never, value, schema);
  });
}

function isMap(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isOfType(type: string, value: unknown): boolean {
  if (type === "null") return value === null;
  if (type === "array") return Array.isArray(value);
  if (type === "object") return isMap(value);
  if (type === "integer") return Number.isInteger(value);
  return typeof value === type;
}

const BASE = "listeners: { web: { address: ':80', cluster: app } }\nclusters: { app: [a:1] }\n";

const right = [
  BASE,
  `${BASE}workers: 2\nadmin: false\nlog: { level: warn, access: true }\n`,
  `${BASE}plugins:\n`,
  `${BASE}plugins: { x: { wasm: a, config: [1, { b: null }], onFailure: skip, limits: { memory: 1MiB } } }\n`,
  `${BASE}workers: "\${W:-3}"\nshutdown: { grace: 10s }\n`,
  BASE.replace("[a:1]", "{ endpoints: [a:1], health: { active: { http: /z, interval: 5s, healthyAfter: 2 } } }"),
  BASE.replace("[a:1]", "{ endpoints: [a:1], health: { active: { http: { path: /z, status: [2xx, 404] } } } }"),
  BASE.replace("[a:1]", "{ endpoints: [a:1], health: { active: { tcp: true } } }"),
  BASE.replace("[a:1]", '{ endpoints: [a:1], health: { active: { tcp: { send: "a", expect: "b" } } } }'),
  BASE.replace("[a:1]", "{ endpoints: [a:1], health: { passive: { ejectFor: 1s, statuses: [503], panic: 0% } } }"),
  BASE.replace("[a:1]", "{ endpoints: [a:1], health: { passive: false } }"),
  BASE.replace("cluster: app", "routes: [{ cluster: app, retry: { on: [connect, reset, timeout, 503] } }]"),
  "listeners: { web: { address: ':80', chain: [request-id, { headers: { a: 1 } }], routes: [{ match: { method: GET, headers: { a: 1 } }, split: { a: 1, b: 0 } }, { cluster: a, retry: { on: [connect, 503] } }] } }\nclusters: { a: { strategy: random, endpoints: [{ address: a:1, weight: 2 }] }, b: { strategy: [random, { round-robin: 1 }], endpoints: [] } }\n",
];

const wrong = [
  "clusters: {}\n",
  `${BASE}worker: 1\n`,
  `${BASE}workers: -1\n`,
  `${BASE}log: { level: loud }\n`,
  `${BASE}shutdown: { grace: 5 }\n`,
  BASE.replace("':80'", "{}"),
  BASE.replace("[a:1]", "{ endpoints: [{ weight: 1 }] }"),
  BASE.replace("[a:1]", "{ endpoints: [{ address: a:1, weight: 0 }] }"),
  BASE.replace("cluster: app", "routes: [{ cluster: app, retry: { on: [200] } }]"),
  BASE.replace("cluster: app", "chain: [{ a: 1, b: 2 }]"),
  BASE.replace("[a:1]", "{ endpoints: [a:1], health: { active: { tcp: false } } }"),
  BASE.replace("[a:1]", "{ endpoints: [a:1], health: { active: { http: { path: /, status: [1xx] } } } }"),
  BASE.replace("[a:1]", "{ endpoints: [a:1], health: { passive: { statuses: [404] } } }"),
];

test("the schema accepts what the proxy accepts", () => {
  for (const text of right) {
    const { problems } = loadConfig(text, { file: "s.yaml", env: {} });
    assert.deepEqual(problems, [], text);
    assert.ok(isValid(whole, parse(text)), text);
  }
});

test("both reject a wrong shape", () => {
  for (const text of wrong) {
    assert.equal(loadConfig(text, { file: "s.yaml", env: {} }).config, null, text);
    assert.ok(!isValid(whole, parse(text)), text);
  }
});

test("every key of the schema has a description", () => {
  const walk = (schema: unknown): number => {
    if (typeof schema !== "object" || schema === null) return 0;
    const properties = Object.entries((schema as { properties?: Record<string, Json> }).properties ?? {});
    for (const [key, one] of properties) assert.match(String(one.description), /^.{15,}\.$/s, key);
    return properties.length + Object.values(schema).reduce((sum: number, inner) => sum + walk(inner), 0);
  };
  assert.ok(walk(whole) > 50);
});
