/** Advice for authors who write JavaScript: what AssemblyScript lacks, and what to write instead, with the line. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { compileFiles, compileSource } from "../../contract/plugin-harness.ts";

const IMPORTS = 'import { Request, log } from "sluice/sdk";';

type Rows = readonly (readonly [code: string, message: RegExp])[];

/** Errors of the parser. As below, each is on the third line, in a function, unless it starts with a top-level keyword. */
const SYNTAX: Rows = [
  ["async function f(): void {}", /2:1: .*no async functions: leave out `async`/],
  ["export async function onRequest(req: Request): void {}", /2:1: .*no async functions/],
  ["const a = await f();", /3:11: .*no async functions/],
  ["const a = req.headers?.get('x');", /no `\?\.`: write `if \(value != null\)/],
  ["const a = req.headers.get('x') ?? 'y';", /no `\?\?`: write .* for texts `value \|\| other`/],
  ["let a = req.headers.get('x'); a ??= 'y';", /no `\?\?`/],
  ["const { path } = req;", /3:1: .*no destructuring: .*const path = req\.path/],
  ["const [a, b] = req.path.split('/');", /3:1: .*no destructuring/],
  ["function f({ path }: Request): void {}", /2:11: .*no destructuring/],
  ["export default { onRequest(req: Request): void {} }", /2:18: write a hook as `export function NAME/],
  ["export default function (req: Request): void {}", /2:24: a hook has a name: write `export function NAME/],
  ["for (const a in req) log.info(a);", /^\S+3:12: .*no for…in.*`map\.keys\(\)`$/],
  ["let a = ''; a ||= 'b';", /3:\d+: .*no `\|\|=`: write `if \(!value\)/],
  ["let a = ''; a &&= 'b';", /3:\d+: .*no `&&=`: write `if \(value\)/],
  ["function* f(): void {}", /2:9: .*no generators: fill an array/],
  ["let a; a = 1;", /3:\d+: a variable has a value or a type/],
  ["class A { #p: string = ''; } new A();", /3:\d+: .*no `#name`: write `private name`/],
  ["function f(a: string | number): void {}", /2:\d+: .*no union types but `Type \| null`/],
  ["function f(a) { return a; }", /2:\d+: .*does not infer types of parameters and results/],
  ["type T = { a: string };", /2:\d+: .*no objects without a class/],
];

/** Errors of the compiler, which are reported if the parser has none. */
const WRITTEN: Rows = [
  ["const a = [1]; const b = [...a, 2];", /no spread: `a\.concat\(b\)`/],
  ["const a = { a: 1 };", /no objects without a class: .*new Map<string, string>\(\)/],
  ["const a: Record<string, string> = { a: '1' };", /`Record` is not available: write `Map<string, string>`/],
  ["const a = JSON.parse(req.path);", /3:11: `JSON` is not available: use `Json`, `JsonWriter` or `JsonMask`/],
  ["const a = fetch('http://a/');", /3:11: `fetch` is not available: write `new Fetch\(url\)\.send\(\)`/],
  ["log('a');", /^\S+3:1: `log` is not a function: write `log\.info\(text\)`$/],
  ["console.log('a', req.path);", /3:1: `log\.info` of the SDK takes one string/],
  ["log.info(1);", /3:10: .*convert a number to a string by `value\.toString\(\)`/],
  ["const a = now();", /3:11: `now` is not imported: write `import \{ now \} from "sluice\/sdk"`/],
  ["const p = req.path; ['x'].filter((s) => s == p);", /no closures: a function can use only its own variables/],
  ["for (const a of req.path.split('/')) log.info(a);", /no for…of: write `for \(let i = 0;/],
  ["if ('a' in req) log.info('a');", /3:5: .*no `in`: write `map\.has\(key\)`/],
  ["delete req.path;", /3:1: .*no delete: write `map\.delete\(key\)`/],
  ["const m = new Map([['a', 'b']]);", /3:\d+: a new Map or Set is empty, and has types/],
  ["const m = new Set<string>(['a']);", /3:11: a new Map or Set is empty/],
  ["const keys = Object.keys(req);", /3:\d+: .*no objects without a class/],
  ["const list = Array.from([1]);", /3:\d+: `Array` has no `from`: fill an array in a loop/],
  ["[1].find((x) => x == 1);", /3:5: an array has no `find`: write `findIndex`/],
  ["req.respond(403, { error: 'no' });", /3:18: .*no objects without a class/],
  ["Boolean(req.path);", /^\S+3:1: `Boolean\(\)` is not available: write `value != null`[^\n]*$/],
  ["try { log.info('x'); } catch (e) {}", /no try\/catch: a `throw` ends the call/],
  ["if (/a/.test(req.path)) log.info('a');", /no regular expression literals: write .*new Regex/],
  ["const a: string = undefined;", /3:19: .*no undefined: use null/],
  ["const a: string = req.headers.get('x');", /3:19: it may be null: test it/],
  ["setTimeout(() => {}, 1);", /3:1: `setTimeout` is not available: call `sleep\(ms\)`/],
  ["const n = Number(req.path);", /3:11: `Number\(\)` is not available: write `parseInt\(text\)`/],
  ["log.info(new Date().toISOString());", /3:10: `new Date\(\)` is not available: use `now` and `Time`/],
  ["log.info('a', req.path);", /3:1: `log\.info` of the SDK takes one string/],
  ["req.url;", /3:5: Request has no `url`: write `req\.target`/],
  ["const b = req.body;", /3:15: Request has no `body`: export `onRequestBody\(/],
  ["req.setHeader('a', 'b');", /3:5: Request has no `setHeader`: write `headers\.set\(/],
  ["req.headers.append('a', 'b');", /3:13: Headers has no `append`: write `add\(/],
  [
    "req.hosts;",
    /3:5: Property 'hosts' does not exist on Request, did you mean `host`\? It has headers, trailers, log, /,
  ],
  ["const m = req.path.match('x');", /3:20: a string has no `match`: write `new Regex/],
  ["interface I { a: string } const i: I = { a: 'b' };", /2:\d+: .*no objects without a class/],
  ["['x'].map((s) => s + 'y');", /write the type of the result, such as `list\.map<string>/],
  ["new Date(0).getHours();", /`Date` has no `getHours`: it supports only UTC/],
  ["const s = process.env.SECRET;", /3:23: a plugin has no environment: .*\$\{SECRET\}/],
  ["const u = new URL(req.path);", /`URL` is not available: use `Url`/],
];

/** Functions of other environments, which are reported if the compiler has no error. */
const LIBRARY: Rows = [
  ["log.info(Math.random().toString());", /3:10: `Math\.random` is not available; use `randomFloat`/],
  ["log.info(Date.now().toString());", /3:10: `Date\.now` is not available; use `now`/],
  ["console.log('a');", /3:1: `console\.log` is not available; use `log`/],
  ["console.warn('a');", /3:1: `console\.warn` is not available; use `log`/],
  ["process.exit(1);", /3:1: `process\.exit` is not available/],
];

/** Exports of the plugin's file. */
const EXPORTS: Rows = [
  [
    "export const onRequest = (req: Request): void => {};",
    /2:14: a hook must be a function: `export function onRequest\(req: Request\): void`/,
  ],
  [
    "export function pick(endpoints: Endpoints): i32 { return 0; }",
    /2:33: `Endpoints` is not imported: write `import \{ Endpoints \}/,
  ],
];

/** A file with the code on its third line, in `hook`; top-level code is on its second. */
function sourceOf(code: string, hook: string): string {
  const isTop = /^(export|async|function|type|interface)\b/.test(code);
  const call = code.startsWith("function f(a)") ? "f(1);" : "";
  if (isTop) return `${IMPORTS}\n${code}\nexport function ${hook}(req: Request): void { ${call} }`;
  return `${IMPORTS}\nexport function ${hook}(req: Request): void {\n${code}\n}`;
}

/** Compiles each row as a file of one plugin, and compares the messages of each. */
async function assertMessages(rows: Rows): Promise<void> {
  const files = Object.fromEntries(rows.map(([code], i) => [`row${i}.ts`, sourceOf(code, "run")]));
  const imports = rows.map((_, i) => `import { run as row${i} } from "./row${i}";`);
  const calls = rows.map((_, i) => `row${i}(req);`);
  const plugin = [IMPORTS, ...imports, "export function onLog(req: Request): void {", ...calls, "}"].join("\n");
  const error: Error = await compileFiles({ ...files, "plugin.ts": plugin }).then(
    () => assert.fail("it compiles"),
    (error) => error,
  );
  const lines = error.message.split("\n");
  for (const [i, [code, message]] of rows.entries()) {
    const own = lines.filter((line) => line.startsWith(`row${i}.ts:`));
    assert.ok(
      own.some((line) => message.test(line)),
      `${code}\n${message}\n${own.join("\n")}`,
    );
  }
}

test("syntax that AssemblyScript lacks gets what to write, with its place", () => assertMessages(SYNTAX));
test("names, types and members that AssemblyScript lacks get what to write", () => assertMessages(WRITTEN));
test("functions of other environments get what to write, each with its place", () => assertMessages(LIBRARY));

for (const [code, message] of EXPORTS)
  test(code, async () => {
    await assert.rejects(compileSource(sourceOf(code, "onLog")), message);
  });

/** Methods and properties, in a body hook; all in one compilation, as `NAMES`. */
const CALLS: readonly (readonly [code: string, advice: string])[] = [
  ["body.text.replaceAll('a', 'b');", "`body.text` is a method: write `body.text()`"],
  ["if (body.text.includes('a')) {}", "`body.text` is a method: write `body.text()`"],
  ["body.replaceText(body.text);", "`body.text` is a method: write `body.text()`"],
  ["log.info('a' + body.text);", "`body.text` is a method: write `body.text()`"],
  ["if (body.text == 'a') {}", "`body.text` is a method: write `body.text()`"],
  ["if (body.text) {}", "`body.text` is a method: write `body.text()`"],
  ["if (!body.bytes) {}", "`body.bytes` is a method: write `body.bytes()`"],
  ["if (body.text == null) {}", "`body.text` is a method: write `body.text()`"],
  ["const none = null === (body.text);", "`body.text` is a method: write `body.text()`"],
  ["if (body.text !== null) {}", "`body.text` is a method: write `body.text()`"],
  ["const both = body.text && body.last;", "`body.text` is a method: write `body.text()`"],
  ["const other = body.text || 'a';", "`body.text` is a method: write `body.text()`"],
  ["const size = body.take ? 1 : 2;", "`body.take` is a method: write `body.take()`"],
  ["while (req.headers.get) break;", "`req.headers.get` is a method: write `req.headers.get()`"],
  ["const kept = body.text; if (kept) {}", "`kept` is a method: call it where it is read, as in `body.text()`"],
  ["body.drop;", "`body.drop` is a method: write `body.drop()`"],
  ["const text = body.text; log.info(text);", "`text` is a method: call it where it is read, as in `body.text()`"],
  ["const first = body.bytes[0];", "if `body.bytes` is a method, write `body.bytes()[0]`"],
  ["if (body.bytes.length > 3) {}", "`body.bytes` is a method: write `body.bytes()`"],
  // biome-ignore lint/suspicious/noTemplateCurlyInString: the code of a plugin.
  ["log.info(`${body.text}`);", "`body.text` is a method: write `body.text()`"],
  ["const raw = body.bytes; log.info(raw.name);", "`raw` is a method: call it where it is read, as in `body.text()`"],
  ["log.info(body.size().toString());", "`body.size` is a property: write it without `()`"],
  ["if (body.last()) {}", "`body.last` is a property: write it without `()`"],
  ["log.info(req.path());", "`req.path` is a property: write it without `()`"],
  ["req.headers().set('a', 'b');", "`req.headers` is a property: write it without `()`"],
  ["body.text = 'a';", "write `body.replaceText(text)`, or `body.replace(bytes)`"],
  [
    "body.write('a');",
    "Property 'write' does not exist on Body, which has size, last, bytes(), take(), keep(), text(), replace(),",
  ],
  ["log.trace('a');", "Property 'trace' does not exist on log, which has debug(), info(), warn(), error()"],
];

/** All in one compilation, each with its line: `[code, advice]`. */
const NAMES: readonly (readonly [code: string, advice: string])[] = [
  ["setInterval(() => {}, 1);", "`setInterval` is not available: call `tickEvery(ms)` of the SDK and export `onTick`"],
  ["const q = new URLSearchParams(req.query);", "`URLSearchParams` is not available: use `Query` of the SDK"],
  ["const r = new RegExp('a');", "`RegExp` is not available: use `Regex` of the SDK"],
  ["Buffer.from('a');", "`Buffer` is not available: use `Bytes` and `toBytes` of the SDK"],
  ["new TextEncoder();", "`TextEncoder` is not available: use `toUtf8` of the SDK"],
  ["new TextDecoder();", "`TextDecoder` is not available: use `fromUtf8` of the SDK"],
  ["atob('a');", "`atob` is not available: use `Base64` of the SDK"],
  ["btoa('a');", "`btoa` is not available: use `Base64` of the SDK"],
  ["crypto.randomUUID();", "`crypto` is not available: use `sha256`, `hmacSha256` and `randomBytes` of the SDK"],
  ["require('fs');", "`require` is not available: a plugin can import the SDK and local files: `import { … } from"],
  ["globalThis.x = 1;", "`globalThis` is not available: variables at the top of the file are the plugin's globals"],
  ["module.exports = 1;", "`module` is not available: write `export function NAME(…): …`"],
  ["exports.a = 1;", "`exports` is not available: write `export function NAME(…): …`"],
  ["new WeakMap<Request, string>();", "`WeakMap` is not available: use `Map`"],
  ["console.table('a');", "`console.table` is not available; use `log` of the SDK"],
  ["process.stdout.write('a');", "`process.stdout` is not available in a plugin"],
  ["new Response('no');", "a plugin responds by `req.respond(status, body)`"],
  ["req.originalUrl;", "Request has no `originalUrl`: write `req.original.target`"],
  ["req.hostname;", "Request has no `hostname`: write `req.host`"],
  ["req.ip;", "Request has no `ip`: write `req.clientAddress`"],
  ["req.params;", "Request has no `params`: write `new Regex(…).exec(req.path)`"],
  ["req.cookies;", "Request has no `cookies`: write `Cookies.get(req.headers, name)`"],
  ["req.getHeader('a');", "Request has no `getHeader`: write `headers.get(name)`"],
  ["req.header('a');", "Request has no `header`: write `headers.get(name)`"],
  ["req.removeHeader('a');", "Request has no `removeHeader`: write `headers.remove(name)`"],
  ["req.headers.delete('a');", "Headers has no `delete`: write `remove(name)`"],
  ["res.statusCode;", "Response has no `statusCode`: write `res.status`"],
  ["res.body;", "Response has no `body`: export `onResponseBody(req: Request, res: Response, body: Body): void`"],
  ["res.send('a');", "Response has no `send`: write `req.respond(status, body)`"],
  ["res.json('a');", "Response has no `json`: write `req.respond(status, body)`"],
  ["res.end();", "Response has no `end`: write `req.respond(status, body)`"],
  ["res.set('a', 'b');", "Response has no `set`: write `res.headers.set(name, value)`"],
  ["res.redirect('/');", 'Response has no `redirect`: write `req.respond(302).headers.set("location", url)`'],
  ["String(1);", "`String()` is not available: write `value.toString()`"],
  ["req[key];", "`[name]` does not access fields: write the field's name, such as `req.path`"],
  ["let a: any = 1;", "AssemblyScript has no any: write the type, or a generic function"],
  ["let u: unknown = 1;", "AssemblyScript has no unknown: write the type, or a generic function"],
  ["let p: Promise<i32>;", "AssemblyScript has no async functions: leave out `async` and `await`"],
];

/** Compiles `list` as the lines after `first`, which are two, and compares the message of each. */
async function assertAdvice(first: string, list: typeof NAMES): Promise<void> {
  const error: Error = await compileSource(`${first}\n${list.map(([code]) => code).join("\n")}\n}`).then(
    () => assert.fail("it compiles"),
    (error) => error,
  );
  const lines = error.message.split("\n");
  for (const [i, [code, advice]] of list.entries()) {
    const line = lines.find((one) => one.startsWith(`plugin.ts:${i + 3}:`)) ?? "";
    assert.ok(line.replace(/^\S+ /, "").startsWith(advice), `${code}\n${line}`);
  }
}

test("names and members of other environments get the replacement, each with its line", () =>
  assertAdvice(
    `import { Request, Response } from "sluice/sdk";
export function onResponse(req: Request, res: Response): void { const key = "a";`,
    NAMES,
  ));

test("methods without a call and properties with one get the other form", () =>
  assertAdvice(
    `import { Body, log, Request } from "sluice/sdk";
export function onRequestBody(req: Request, body: Body): void {`,
    CALLS,
  ));

/** Of a service's response, of JSON, and of endpoints; all in one compilation, as `NAMES`. */
const VALUES: readonly (readonly [code: string, advice: string])[] = [
  ["const answer = response.json();", "FetchResponse has no `json`: write `Json.parseText(response.text())`"],
  ["log.info(response.headers.get('a'));", "FetchResponse has no `headers`: write `response.header(name)`"],
  ["log.info(response.body);", "FetchResponse has no `body`: write `response.text()` or `response.bytes()`"],
  ["new Fetch('cluster:a/', { method: 'POST' }).send();", "`new Fetch(url)` takes no options: write"],
  ["const a = value.users;", 'JsonValue has no `users`: write `value.get("users")`'],
  ["value.name = 'a';", "JsonValue has no `name`: write"],
  ["const b = value['users'];", "write `value.get(name)`, or `value.at(i)` of an array"],
  ["const c = value.length;", "JsonValue has no `length`: write `value.count`"],
  ["const d = value.toString();", "JsonValue has no `toString`: write `fromUtf8(value.raw())`"],
  ["const e = value.delete('a');", "JsonValue has no `delete`: a value cannot be changed: `JsonMask` replaces"],
  ["const f = value.get('user').asString();", "it may be null: test it with `if (value != null)`, or write `value!`"],
  ["const g = Json.parse(response.bytes());", "convert it by `fromView(bytes)`"],
  ["const h = Json.parse(response.text());", "convert it by `toUtf8(text)`"],
  ["endpoints.filter((e) => e.inFlight < 1);", "Endpoints has no `filter`: write `for (let i = 0;"],
  ["const k = endpoints[0];", "an endpoint is no object: write `endpoints.inFlight(i)`"],
  ["const l: i32 = Math.floor(1.5);", "a number with a fraction is not converted to i32 by itself: write `<i32>Math"],
];

test("values of the SDK that are objects or lists in JavaScript", () =>
  assertAdvice(
    `import { Endpoints, Fetch, FetchResponse, Json, JsonValue, log } from "sluice/sdk";
export function pick(endpoints: Endpoints): i32 { const response = new Fetch("cluster:a/").send(), value = Json.parseText("{}")!;`,
    VALUES,
  ));

test("an error that only follows from another one is left out, and types have their short names", async () => {
  const source = `import { Fetch, Json, Request } from "sluice/sdk";
export function onRequest(req: Request): void {
  const user = Json.parseText("{}")!.user;
  req.headers.set("x-user", user);
  req.headers.set("x-users", user.name);
  req.headers.set("x-method", req);
}`;
  await assert.rejects(compileSource(source), (error: Error) => {
    assert.deepEqual(
      error.message
        .replaceAll(/^\S*plugin\.ts/gm, "")
        .split("\n")
        .slice(-2),
      [
        ':3:38: JsonValue has no `user`: write `value.get("user")`; a value cannot be changed: `JsonMask` replaces parts of a text, `JsonWriter` writes one',
        ":6:31: Type 'Request' is not assignable to type 'string'.",
      ],
    );
    return true;
  });
});

test("imports that are not plugin code", async () => {
  for (const [path, message] of [
    ["node:fs", /1:\d+: "node:fs" is not available: plugins cannot use Node modules or npm packages/],
    ["lodash", /1:\d+: "lodash" is not available: plugins/],
    ["sluice", /1:\d+: write `import \{ … \} from "sluice\/sdk"`/],
  ] as const)
    await assert.rejects(compileSource(`import { a } from "${path}";\n${IMPORTS}\na();`), message);
});

test("clear messages of the compiler are not changed", async () => {
  const hook = (code: string): string => `${IMPORTS}\nexport function onRequest(req: Request): void { ${code} }`;
  for (const [source, message] of [
    [hook("nothing();"), /2:49: Cannot find name 'nothing'\.$/],
    [
      hook("const n = 1; n();"),
      /2:\d+: Cannot invoke an expression whose type lacks a call signature\. Type 'i32' has/,
    ],
    [`class Own {}\n${hook("new Own().a;")}`, /3:\d+: Property 'a' does not exist on type 'plugin\/Own'\.$/],
  ] as const)
    await assert.rejects(compileSource(source), message);
});
