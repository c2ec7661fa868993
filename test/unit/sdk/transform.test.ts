/** The compiler's transform reports mistakes in hooks at the author's lines, and exports only the ABI. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { readChecked } from "../../../src/plugin/wasm/build.ts";
import { compileSource } from "../../contract/plugin-harness.ts";

const SDK = 'import { Request, Response, Endpoints, Outcome, Cluster, Config } from "sluice/sdk";\n';
const HOOKS =
  "configure, onConnection, onRequest, route, onResponse, onRequestBody, onRequestTrailers, onResponseBody, onResponseTrailers, update, pick, onOutcome, onHealthCheck, onTick, onSave, onRestore, onLog";

async function problems(source: string): Promise<string> {
  try {
    await compileSource(source);
    return "";
  } catch (error) {
    return (error as Error).message;
  }
}

async function exports(source: string): Promise<string[]> {
  return readChecked(await compileSource(source))
    .exports.map(({ name }) => name)
    .sort();
}

describe("a mistake is reported at its place", () => {
  const mistakes: [name: string, source: string, problem: string | RegExp][] = [
    [
      "a misspelt hook",
      "export function onReqest(req: Request): void {}",
      "plugin.ts:2:17: `onReqest` is not a hook; did you mean `onRequest`? (helper functions must not be exported)",
    ],
    [
      "an exported helper",
      "export function onLog(): void {}\n  export function helper(): void {}",
      `plugin.ts:3:19: \`helper\` is not a hook; hooks are ${HOOKS} (helper functions must not be exported)`,
    ],
    [
      "a wrong parameter",
      "export function onRequest(req: Response): void {}",
      "plugin.ts:2:32: parameter 1 of `onRequest` is a Request; expected `onRequest(req: Request): void`",
    ],
    [
      "a parameter too many",
      "export function pick(e: Endpoints, r: Request, x: i32): i32 { return 0; }",
      "plugin.ts:2:48: `pick` is called with 2 arguments; expected `pick(endpoints: Endpoints, req: Request): i32`",
    ],
    [
      "a nullable parameter",
      "export function onRequest(req: Request | null): void {}",
      "plugin.ts:2:32: parameter 1 of `onRequest` is a Request; expected `onRequest(req: Request): void`",
    ],
    [
      "a wrong result",
      "export function onRequest(req: Request): i32 { return 0; }",
      "plugin.ts:2:42: `onRequest` returns void; expected `onRequest(req: Request): void`",
    ],
    [
      "a result that is not there",
      "export function pick(endpoints: Endpoints) { }",
      "plugin.ts:2:43: AssemblyScript does not infer types of parameters and results: write them, such as `(req: Request): void`",
    ],
    [
      "a class of the author's with the name of one of the SDK",
      "class Box {}\nexport function onRequest(req: Box): void {}",
      "plugin.ts:3:32: parameter 1 of `onRequest` is a Request; expected `onRequest(req: Request): void`",
    ],
    [
      "a generic hook",
      "export function onRequest<T>(req: Request): void {}",
      "plugin.ts:2:17: `onRequest` is a hook and cannot be generic",
    ],
    ["no hook at all", "function helper(): void {}", `plugin.ts:1:1: no hook is exported; hooks are ${HOOKS}`],
    [
      "hooks exported elsewhere",
      "function onRequest(req: Request): void {}\nexport { onRequest };",
      "plugin.ts:3:1: export a hook where it is declared: `export function onRequest(…)`",
    ],
    [
      "a servesMany that is not true",
      "export const servesMany = 1;\nexport function onLog(): void {}",
      "plugin.ts:2:14: `servesMany` must be `export const servesMany = true`, or be omitted",
    ],
    [
      "a type error in a hook's body",
      "export function onRequest(req: Request): void {\n  const n: i32 = req.path;\n}",
      "plugin.ts:3:18: Type 'string' is not assignable to type 'i32'.",
    ],
    [
      "an unknown member of the SDK",
      "export function onRequest(req: Request): void {\n  req.nope();\n}",
      /^plugin\.ts:3:7: Property 'nope' does not exist on Request, which has headers, .*\brespond\b/,
    ],
    [
      "what a host does not have",
      "export function onRequest(req: Request): void { console.log(Date.now().toString()); }",
      "plugin.ts:2:61: `Date.now` is not available; use `now` of the SDK",
    ],
  ];
  for (const [name, source, problem] of mistakes) {
    test(name, async () => {
      const found = await problems(SDK + source);
      const is = (line: string) => (typeof problem === "string" ? line === problem : problem.test(line));
      assert.ok(found.split("\n").some(is), found);
    });
  }

  test("all mistakes are reported at once", async () => {
    const found = await problems(`${SDK}export function onLog(x: i32): void {}\nexport function pik(): void {}`);
    assert.deepEqual(
      found.split("\n").map((line) => line.split(": ")[0]),
      ["plugin.ts:2:26", "plugin.ts:3:17"],
    );
  });

  test("a source that cannot be parsed, and an import that does not exist", async () => {
    assert.match(await problems("export function onLog(): void { if }"), /^plugin\.ts:1:33: /);
    assert.match(await problems('import { a } from "./none";\nexport function onLog(): void { a(); }'), /none\.ts/);
  });
});

describe("only the ABI is exported", () => {
  const ALWAYS = ["_initialize", "memory", "sluice_abi"];

  test("each hook is exported under its name, also if the file exports more", async () => {
    const source = `${SDK}
export class Thing {}
export const number = 5;
export function onRequest(req: Request): void {}
export function onResponse(req: Request, res: Response): void {}
export function onLog(): void {}
export function configure(): void {}`;
    assert.deepEqual(await exports(source), [...ALWAYS, "configure", "log", "request_head", "response_head"].sort());
  });

  test("a strategy gets its endpoints even if the author does not handle updates", async () => {
    const source = `${SDK}export function pick(endpoints: Endpoints): i32 { return 0; }`;
    assert.deepEqual(await exports(source), [...ALWAYS, "pick", "update"].sort());
  });

  test("serving many is declared", async () => {
    const source = `${SDK}export const servesMany = true;\nexport function onRequest(req: Request): void {}`;
    assert.deepEqual(await exports(source), [...ALWAYS, "request_head", "sluice_serves_many"].sort());
  });

  test("types may be imported under other names, or as a namespace", async () => {
    const source = `import { Request as Req } from "sluice/sdk";\nimport * as sluice from "sluice/sdk";
export function onRequest(request: Req): void {}
export function onOutcome(outcome: sluice.Outcome, response: sluice.Request): void {}`;
    assert.deepEqual(await exports(source), [...ALWAYS, "outcome", "request_head"].sort());
  });

  test("only used host calls are imported: they show what a plugin can do", async () => {
    const source = `import { Request } from "sluice/sdk";\nexport function onRequest(req: Request): void { req.headers.remove("x"); }`;
    const { imports } = readChecked(await compileSource(source));
    assert.deepEqual(imports.map(({ module, name }) => `${module} ${name}`).sort(), [
      "sluice:core/1 abort",
      "sluice:core/1 header_remove",
    ]);
  });
});
