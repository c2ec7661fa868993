/** The documentation's examples work unchanged: plugins compile, configurations load, commands exist. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { loadConfig } from "../../src/config/load.ts";
import { compileSource } from "../contract/plugin-harness.ts";
import { launcher } from "./program.ts";

const root = join(import.meta.dirname, "../..");
const pages = globSync(["*.md", "docs/*.md", "examples/*/README.md"], { cwd: root });

type Block = { where: string; text: string };

/** The fenced blocks of a language, with the line at which each begins. */
function blocksOf(language: string): Block[] {
  return pages.flatMap((page) => {
    const content = readFileSync(join(root, page), "utf8");
    return Array.from(content.matchAll(/^```(\w+)\n(.*?)^```$/gms))
      .filter(([, found]) => found === language)
      .map(({ index, 2: text }) => ({ where: `${page}:${content.slice(0, index).split("\n").length}`, text: text! }));
  });
}

test("every plugin compiles", async () => {
  const plugins = blocksOf("ts").filter(({ text }) => text.includes('from "sluice/sdk"'));
  assert.ok(plugins.length > 3);
  for (const { where, text } of plugins)
    await compileSource(text).catch((error: Error) => assert.fail(`${where}: ${error.message}`));
});

test("every whole configuration loads", () => {
  const whole = blocksOf("yaml").filter(({ text }) => /^listeners:/m.test(text));
  assert.ok(whole.length > 1);
  for (const { where, text } of whole)
    assert.deepEqual(loadConfig(text, { file: "sluice.yaml", env: {} }).problems, [], where);
});

test("every command exists", () => {
  const help = execFileSync(process.execPath, [launcher, "--help"], { encoding: "utf8" });
  const known = new Set(Array.from(help.matchAll(/^ {2}sluice ((?:plugin )?[a-z]+)/gm), ([, command]) => command));
  for (const { where, text } of blocksOf("sh"))
    for (const [, command] of text.matchAll(/^(?:npx )?sluice ((?:plugin )?[a-z]+)/gm))
      assert.ok(known.has(command), `${where}: sluice ${command}`);
});

test("every link within the repository resolves", () => {
  for (const page of pages)
    for (const [, target] of readFileSync(join(root, page), "utf8").matchAll(/\]\((?!https?:|#)([^)#]+)[^)]*\)/g))
      assert.ok(globSync(join(root, page, "..", target!)).length === 1, `${page}: ${target}`);
});

test("every link to a heading resolves", () => {
  for (const page of pages)
    for (const [, target, heading] of readFileSync(join(root, page), "utf8").matchAll(
      /\]\((?!https?:)([^)#]*)#([^)]+)\)/g,
    )) {
      const text = readFileSync(join(root, target === "" ? page : join(page, "..", target!)), "utf8");
      const headings = Array.from(text.matchAll(/^#+ (.*)$/gm), ([, title]) =>
        title!
          .toLowerCase()
          .replace(/[^\p{L}\p{N} _-]/gu, "")
          .replaceAll(" ", "-"),
      );
      assert.ok(headings.includes(heading!) || /^L\d+/.test(heading!), `${page}: ${target}#${heading}`);
    }
});
