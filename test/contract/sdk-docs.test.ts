/** Every public name of the SDK and each of its members has a doc comment. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

const sdk = join(import.meta.dirname, "../../sdk");
const linesOf = (file: string): string[] => readFileSync(join(sdk, `${file}.ts`), "utf8").split("\n");

/** Whether a doc comment precedes that line; decorators and suppressions may be between. */
function isDocumented(lines: readonly string[], at: number): boolean {
  let before = at - 1;
  while (/^\s*(@\w+|\/\/ @ts-ignore)/.test(lines[before]!)) before--;
  return lines[before]!.endsWith("*/");
}

/** Methods, properties and fields that an author reaches: the name of each, and the line that it begins at. */
function* membersOf(lines: readonly string[], start: number): Iterable<[name: string, at: number]> {
  for (let at = start + 1; lines[at] !== "}"; at++) {
    const member = /^ {2}(?:static )?(?:readonly |get |set )?([a-z]\w*)(?:<[^>]*>)?[(:]/.exec(lines[at]!);
    if (member !== null && member[1] !== "constructor") yield [member[1]!, at];
  }
}

test("every public name of the SDK is documented, and every member of it", () => {
  const missing: string[] = [];
  let [names, members] = [0, 0];
  for (const [, list, file] of readFileSync(join(sdk, "index.ts"), "utf8").matchAll(
    /export \{([^}]*)\} from "\.\/(.*)"/g,
  )) {
    const lines = linesOf(file!);
    for (const name of list!.split(",").map((one) => one.trim())) {
      const declared = new RegExp(`^(@\\w+ )*export (?:abstract )?(?:const|function|class|namespace|type) ${name}\\b`);
      const at = lines.findIndex((line) => declared.test(line));
      assert.ok(at >= 0, `${file}.ts declares no ${name}`);
      names++;
      if (!isDocumented(lines, at)) missing.push(`${file}.ts:${at + 1}: ${name}`);
      if (!/ class /.test(lines[at]!)) continue;
      const documented = new Set<string>();
      for (const [member, line] of membersOf(lines, at)) {
        members++;
        // Of a property that can be read and set one comment is enough.
        if (isDocumented(lines, line)) documented.add(member);
        else if (!documented.has(member)) missing.push(`${file}.ts:${line + 1}: ${name}.${member}`);
      }
    }
  }
  assert.deepEqual(missing, []);
  assert.ok(names > 60 && members > 200, `${names} names, ${members} members`);
});
