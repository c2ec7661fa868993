/** A plugin made by `plugin new` serves live traffic after one save; a save that does not compile changes nothing. */
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { findFreePort } from "./free-port.ts";
import { startUpstream } from "./peers.ts";
import { atEnd, environment, launcher, testInUsualMode, until } from "./program.ts";

testInUsualMode("the next request after a save runs the saved version", async (t) => {
  const directory = mkdtempSync(join(tmpdir(), "sluice-dev-"));
  atEnd(t, () => rmSync(directory, { recursive: true }));
  const upstream = await startUpstream(t);
  const [web, admin] = [await findFreePort(), await findFreePort()];
  execFileSync(process.execPath, [launcher, "plugin", "new", "hello"], { cwd: directory });
  const config = join(directory, "hello/sluice.yaml");
  const addresses = [`admin: 127.0.0.1:${admin}`, `address: 127.0.0.1:${web}`, `app: [127.0.0.1:${upstream.port}`];
  const made = addresses.reduce(
    (text, address) =>
      text.replace(new RegExp(`${/^.*\W(?=127)/.exec(address)![0].replace("[", "\\[")}[\\d.:]+`), address),
    readFileSync(config, "utf8"),
  );
  const source = join(directory, "hello/plugin.ts");
  const written = readFileSync(source, "utf8");
  // Both the configuration and the plugin have mistakes at first.
  writeFileSync(config, made.replace("cluster: app", "cluster: none"));
  writeFileSync(source, `${written}\nexport function onRequest(`);

  const dev = spawn(process.execPath, [launcher, "dev", "-c", config, "--workers", "1"], { env: environment(t) });
  atEnd(t, () => dev.kill("SIGKILL"));
  let output = "";
  dev.stderr.on("data", (data) => {
    output += data;
  });
  dev.stdout.resume();
  const greeting = async (): Promise<string | undefined> => {
    const before = upstream.requests.length;
    const response = await fetch(`http://127.0.0.1:${web}/`).catch(() => null);
    if (response?.status !== 200) return undefined;
    return String(upstream.requests[before]!.headers["x-greeting"]);
  };
  await until(() => /sluice\.yaml:\d+:\d+: .*"none"/.test(output), "what is wrong with the configuration", 30_000);
  writeFileSync(config, made);
  await until(() => /plugin\.ts:\d+:\d+: /.test(output), "where the source does not compile", 30_000);
  await until(() => output.split("waiting for a change").length === 3, "the second failed start", 30_000);
  writeFileSync(source, written);
  await until(async () => (await greeting()) === "hello", "the plugin as it was made", 30_000);
  assert.doesNotMatch(output, /there is no file/);
  output = "";

  writeFileSync(source, written.replace('set("x-greeting", greeting)', 'set("x-greeting", "saved")'));
  await until(async () => (await greeting()) === "saved", "what was saved", 30_000);

  writeFileSync(source, `${written}\nexport function onRequest(`);
  await until(() => /plugin\.ts:\d+:\d+: /.test(output), "where the source does not compile", 30_000);
  assert.equal(await greeting(), "saved");

  writeFileSync(source, written);
  await until(async () => (await greeting()) === "hello", "the corrected source", 30_000);

  const schema = join(directory, "hello/plugin.schema.json");
  const known = readFileSync(schema, "utf8");
  writeFileSync(schema, known.replace(`"type": "string"`, `"type": "strung"`));
  await until(() => /plugin\.schema\.json:\d+:\d+: /.test(output), "where the schema is wrong", 30_000);
  writeFileSync(schema, known);
  writeFileSync(join(directory, "hello/words.ts"), `export const word = "imported";`);
  const importing = written.replace('set("x-greeting", greeting)', 'set("x-greeting", word)');
  writeFileSync(source, `import { word } from "./words";\n${importing}`);
  await until(async () => (await greeting()) === "imported", "what the plugin imports", 30_000);
  writeFileSync(join(directory, "hello/words.ts"), `export const word = "changed";`);
  await until(async () => (await greeting()) === "changed", "a saved import", 30_000);
  dev.kill("SIGTERM");
  const [code] = await once(dev, "exit");
  assert.equal(code, 0);
});
