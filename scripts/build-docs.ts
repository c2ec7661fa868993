/**
 * Writes docs/configuration.md from the schema, and from those of the built-in plugins. `--check` only reports whether
 * it is up to date.
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describeSettings } from "../src/config/plugin-config.ts";
import { readPluginSchema } from "../src/config/plugin-schema.ts";
import { BUILTINS, configuration } from "../src/config/schema.ts";
import type { PluginSchema } from "../src/config/schema-keywords.ts";
import type { AnyShape, Field, ObjectShape, Role, Shape } from "../src/config/shape.ts";
import { root } from "./run-node.ts";

const INTRODUCTION = `# Configuration

<!-- Generated from src/config/schema.ts and plugins/*.schema.json by scripts/build-docs.ts. -->

One YAML file, \`sluice.yaml\` without \`-c\`. The smallest useful one:

\`\`\`yaml
listeners:
  web: { address: ":8080", cluster: app }
clusters:
  app: [127.0.0.1:9001, 127.0.0.1:9002]
\`\`\`

\`sluice check\` reports every problem of a file in one pass, one line each, as \`file:line:column: path.to.key: what is
wrong, what was expected\`: structure, routes that no request can match, modules, permissions, configurations of plugins,
and errors that plugins report when they start. Lines with \`warning:\` do not reject the file: a cluster that no route uses,
two routes of one name, a path with the wildcards of another program, \`match.sni\` without \`tls\`, \`acme\` without a listener that uses it, gRPC to a cluster that speaks HTTP/1, a check whose timeout is longer than its interval. A running proxy logs them. \`sluice schema\` prints the JSON Schema, for completion in an editor.

- **Durations** are \`250ms\`, \`5s\`, \`2m\`, \`1h\`; **sizes** are bytes, or \`16KiB\`, \`1MiB\`, \`1GiB\`.
- **Text stays text.** Where a key takes text, the value is the text as written in the file: \`1.10\`, \`007\`, \`12e4\`,
  \`0x1F\`, \`no\` and \`true\` are not converted to numbers or booleans, nor are keys of maps. \`null\`, \`~\` and an empty
  value are no value; \`"null"\` is the text. Where a number is expected, a whole number beyond 2^53 is rejected, since
  it would be rounded. In a plugin's configuration, the schema decides between text and number. If the schema allows
  both, or there is none, a number or boolean in its shortest form (\`5\`, \`-1.5\`, \`true\`) is accepted as such, and
  any other (\`1.10\`, \`007\`, \`True\`) is rejected with a suggestion. \`%YAML 1.1\` and tags such as \`!!int\` are rejected.
- **Variables**: \`\${NAME}\` is the environment variable, \`\${NAME:-value}\` has a default for an unset or empty one,
  \`$\${\` is \`\${\` itself. The default may contain pairs of braces, and variables: \`\${REGION:-\${ZONE:-eu}}\`, nested up to
  eight times. Variables are replaced in values, not in keys. An unset variable without a default is an error.
  A variable's value is text and is never parsed as YAML: \`a: b\`, \`[x]\`, \`null\`, quotes, \`#\` and line ends are not
  special. Where a number, a boolean, a duration or a size is expected, the text is converted.
- **Aliases and merge keys** (\`&name\`, \`*name\`, \`<<: *name\`) work as in YAML.
- An unknown key is an error, as is a route that no request can match.
- **Paths of files** are relative to the configuration file.

For each request, the listener's chain runs first, then the first matching route is selected, then that route's chain
runs, then an endpoint of its cluster is picked.
`;

const USES = `## Naming a plugin

In a \`chain\`, as a \`router\`, as a \`strategy\` and as a \`health.active.plugin\`, a plugin is given by its name, or by a map of its name to its configuration:

\`\`\`yaml
chain:
  - request-id
  - headers: { response: { remove: [server] } }
\`\`\`

The name is one under \`plugins\`, or a built-in: ${list("filter")} in a chain; ${list("strategy")} as a strategy.
A plugin of your own replaces a built-in of the same name.
`;

const BUILTIN_INTRODUCTION = `## The configuration of built-in plugins

Each has a JSON Schema, against which every configuration is checked when the file is loaded; your own plugins may have one too ([plugins.md](plugins.md#configuration)). Built-in plugins that are not listed here have no settings.
`;

const WHOLE = "The file";

export function makeDocs(): string {
  return [INTRODUCTION, ...describeSection(WHOLE, configuration), USES, ...describeBuiltins()].join("\n");
}

function describeBuiltins(): string[] {
  const sections = Object.keys(BUILTINS)
    .sort()
    .flatMap((name) => {
      const file = join(root, "plugins", `${name}.schema.json`);
      if (!existsSync(file)) return [];
      const { schema } = readPluginSchema(readFileSync(file, "utf8"), file);
      const rows = schema === null ? [] : listSettings(schema);
      return rows.length === 0
        ? []
        : [`### \`${name}\`\n\n| key | value | default | |\n|---|---|---|---|\n${rows.join("\n")}\n`];
    });
  return [BUILTIN_INTRODUCTION, ...sections];
}

function listSettings(schema: PluginSchema): string[] {
  return describeSettings(schema).map(({ key, value, usual, description }) => {
    const cells = [code(key), value, usual === "" || usual === "required" ? usual : code(usual), description];
    return `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
  });
}

/** The section of a map, followed by those of maps in its lists. */
function describeSection(title: string, shape: ObjectShape<unknown>): string[] {
  const choices: string[][] = [];
  const inner: string[] = [];
  const rows = describeFields(
    shape,
    "",
    (key, item) => {
      inner.push(...describeSection(title === WHOLE ? key : `${title}.${key}`, item));
    },
    choices,
  );
  const heading = title === WHOLE ? title : code(title);
  const short = Object.entries(shape.shorthand).map(
    ([kind, key]) => `\nA ${kind === "list" ? "list" : "scalar"} in place of this map sets its \`${key}\`.\n`,
  );
  const one = choices.map((keys) => `\nExactly one of these is required: ${keys.map(code).join(", ")}.\n`);
  return [
    `## ${heading}\n\n| key | value | default | |\n|---|---|---|---|\n${rows.join("\n")}\n${short.join("")}${one.join("")}`,
    ...inner,
  ];
}

/**
 * One row per key; keys of nested maps are rows of the same table, after that of the map. Adds maps in lists to `found`, and keys of which exactly
 * one is required to `choices`.
 */
function describeFields(
  shape: ObjectShape<unknown>,
  before: string,
  found: (key: string, item: ObjectShape<unknown>) => void,
  choices: string[][],
): string[] {
  if (shape.one.length > 0) choices.push(shape.one.map((key) => `${before}${key}`));
  return Object.entries(shape.fields).flatMap(([key, field]) => {
    const inner = unwrap(field.shape);
    const here = `${before}${key}`;
    if (inner.kind === "object") {
      const own = row(here, { ...field, otherwise: field.otherwise === "given" ? "given" : "absent" });
      return [own, ...describeFields(inner, `${here}.`, found, choices)];
    }
    const item = inner.kind === "list" || inner.kind === "entries" ? unwrap(itemOf(inner)) : null;
    if (item?.kind === "object") found(`${here}.${inner.kind === "list" ? "N" : "NAME"}`, item);
    return [row(here, field)];
  });
}

function row(key: string, { shape, doc, otherwise }: Field<unknown>): string {
  const usual = typeof otherwise === "object" ? code(show(otherwise.default)) : otherwise === "given" ? "required" : "";
  return `| ${[code(key), label(shape), usual, doc].map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
}

function label(shape: Shape<unknown>): string {
  const inner = unwrap(shape);
  switch (inner.kind) {
    case "scalar":
      return inner.expected
        .replace(/(, such|,? such as| of letters| without| that| of a query| \().*$/, "")
        .replace(/^(an?|the) /, "");
    case "list":
      return inner.single ? `${label(inner.item)}, or a list` : `list: ${label(inner.item)}`;
    case "entries":
      return `map of names: ${label(inner.value)}`;
    case "object": {
      const { scalar } = inner.shorthand;
      return scalar === undefined ? "map" : `${label(inner.fields[scalar]!.shape)}, or a map`;
    }
    case "use":
      return inner.role;
    default:
      return "any";
  }
}

function unwrap(shape: Shape<unknown>): Exclude<AnyShape, { kind: "converted" }> {
  const one = shape as AnyShape;
  return one.kind === "converted" ? unwrap(one.from) : one;
}

function itemOf(shape: AnyShape & { kind: "list" | "entries" }): Shape<unknown> {
  return shape.kind === "list" ? shape.item : shape.value;
}

/** A default value as in YAML. */
function show(value: unknown): string {
  if (Array.isArray(value)) return `[${value.join(", ")}]`;
  return typeof value === "string" ? value || '""' : JSON.stringify(value);
}

function code(text: string): string {
  return `\`${text}\``;
}

function list(role: Role): string {
  const names = Object.keys(BUILTINS).filter((name) => BUILTINS[name] === role);
  return names.map(code).join(", ");
}

if (import.meta.main) {
  const file = join(root, "docs/configuration.md");
  const text = makeDocs();
  if (!process.argv.includes("--check")) writeFileSync(file, text);
  else if (readFileSync(file, "utf8") !== text) {
    console.error("docs/configuration.md is not up to date: run node scripts/build-docs.ts");
    process.exitCode = 1;
  }
}
