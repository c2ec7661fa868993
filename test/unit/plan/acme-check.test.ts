import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { loadConfig } from "../../../src/config/load.ts";
import { readTlsFiles } from "../../../src/plan/tls-files.ts";
import { Authority } from "../../support/certificates.ts";

const directory = mkdtempSync(join(tmpdir(), "sluice-acme-check-"));
test.after(() => rmSync(directory, { recursive: true }));
const authority = new Authority(directory);
authority.issue("file", { names: "DNS:file.example" });

async function check(
  tls: string,
  { acme = "{}", plain = true } = {},
): Promise<{ problems: string[]; warnings: string[] }> {
  const text = `
acme: ${acme}
listeners:
  web: { address: ":1", cluster: app, tls: ${tls} }
${plain ? '  plain: { address: ":2", cluster: app }' : ""}
clusters: { app: ["127.0.0.1:1"] }
`;
  const { readable, problems } = loadConfig(text, { file: join(directory, "sluice.yaml"), env: {} });
  const found =
    readable === null || problems.length > 0 ? { problems: [], warnings: [] } : await readTlsFiles(readable);
  const texts = (list: readonly { path: string; message: string }[]) =>
    list.map(({ path, message }) => `${path}: ${message}`);
  return { problems: texts([...problems, ...found.problems]), warnings: texts(found.warnings) };
}

test("names, patterns and URLs that cannot work are problems with their place", async () => {
  assert.deepEqual(await check("{ acme: [a.example, B.Example] }"), { problems: [], warnings: [] });
  for (const [tls, acme, expected] of [
    [
      '{ acme: ["*.a.example"] }',
      "{}",
      /^listeners\.web\.tls\.acme\.0: .*needs a validation by DNS, which is not supported/,
    ],
    ["{ acme: [localhost] }", "{}", /^listeners\.web\.tls\.acme\.0: .*expected a DNS name/],
    ["{ acme: [192.0.2.1] }", "{}", /expected a DNS name/],
    ["{ acme: [-a.example] }", "{}", /expected a DNS name/],
    ['{ acme: ["../a.example"] }', "{}", /expected a DNS name/],
    ["{ acme: [] }", "{}", /^listeners\.web\.tls\.acme: the list of names is empty/],
    ["{}", "{}", /there is no certificate, expected "certificates" or "acme"/],
    ["{ certificates: [{ acme: [a.example], key: file.key }] }", "{}", /"acme" is given together with keys of a file/],
    ["{ certificates: [{ cert: file.pem }] }", "{}", /the key "key" is missing, expected the path of a file/],
    ["{ onDemand: true }", "{}", /expected "acme\.onDemand"/],
    ["{ onDemand: true }", "{ onDemand: {} }", /^acme\.onDemand: any client could order certificates for any name/],
    ["{ onDemand: true }", '{ onDemand: { ask: "ftp://a" } }', /^acme\.onDemand\.ask: .*expected an http or https URL/],
    ["{ onDemand: true }", '{ onDemand: { names: ["a.*"] } }', /^acme\.onDemand\.names\.0: /],
    ["{ acme: [a.example] }", '{ directory: "http://ca.example" }', /^acme\.directory: .*expected an https URL/],
    ["{ acme: [a.example] }", '{ email: "a@b.example?cc=c@d.example" }', /^acme\.email: .*expected an e-mail address/],
    ["{ acme: [a.example] }", "{ challenges: [dns-01] }", /^acme\.challenges\.0: /],
    ["{ acme: [a.example] }", "{ ca: none.pem }", /^acme\.ca: there is no file /],
    [`{ acme: [${Array.from({ length: 101 }, (_, i) => `n${i}.example`)}] }`, "{}", /101 names, expected at most 100/],
  ] as const) {
    const { problems } = await check(tls, { acme });
    assert.equal(problems.length, 1, `${tls} ${acme}: ${problems}`);
    assert.match(problems[0]!, expected);
  }
});

test("a storage that is a file, and a challenge without its listener, are problems", async () => {
  writeFileSync(join(directory, "taken"), "");
  for (const storage of ["taken", "taken/below"])
    assert.match(
      (await check("{ acme: [a.example] }", { acme: `{ storage: ${storage} }` })).problems[0]!,
      /^acme\.storage: .*taken.* cannot be used as directory: /,
    );
  const acme = "{ challenges: [http-01] }";
  assert.deepEqual((await check("{ acme: [a.example] }", { acme })).problems, []);
  assert.match(
    (await check("{ acme: [a.example] }", { acme, plain: false })).problems[0]!,
    /^acme: "http-01" needs a listener of plain HTTP/,
  );
  // Without use nothing is checked.
  const unused = await check("{ certificates: [{ cert: file.pem, key: file.key }] }", { acme: "{ storage: taken }" });
  assert.deepEqual(unused, { problems: [], warnings: [] });
});

test("a name that another certificate has is a warning", async () => {
  const { warnings } = await check(
    "{ acme: [a.example, file.example], certificates: [{ cert: file.pem, key: file.key }, { acme: [b.example, a.example] }] }",
  );
  assert.deepEqual(warnings.length, 2);
  assert.match(warnings[0]!, /^listeners\.web\.tls\.acme: never used for file\.example: /);
  assert.match(warnings[1]!, /^listeners\.web\.tls\.certificates\.1\.acme: never used for a\.example: /);
});
