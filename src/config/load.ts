/** Text → a `Config`, or every problem with its place. Pure: what is read is handed in. */
import type { Place, Problem } from "./place.ts";
import { Reader } from "./read.ts";
import {
  type Address,
  type Config,
  configuration,
  type MatchConfig,
  type PluginConfig,
  type RouteConfig,
} from "./schema.ts";
import { type Environment, findEntry, makeTree, parseTree } from "./tree.ts";

export { formatProblem } from "./place.ts";

export type Loaded =
  | { readonly config: Config; readonly problems: readonly [] }
  | { readonly config: null; readonly problems: readonly Problem[] };

/** `file` names the text in problems, and is what relative paths are relative to. */
export function loadConfig(text: string, options: { file: string; env: Environment }): Loaded {
  const { tree, problems } = parseTree(text, options);
  if (!tree) return { config: null, problems };
  const reader = new Reader(tree, options.file);
  const value = reader.read(configuration, tree);
  problems.push(...reader.problems);
  // What spans several keys is only looked at when each is right by itself: no problem is the echo of another.
  if (value && problems.length === 0) problems.push(...checkAddresses(value), ...checkReach(value));
  if (!value || problems.length > 0) {
    return { config: null, problems: problems.sort((a, b) => a.line - b.line || a.column - b.column) };
  }
  return { config: { ...value, file: options.file }, problems: [] };
}

/** The plugins that a file declares, as far as they can be read: to look at their modules in spite of other problems. */
export function loadPlugins(text: string, options: { file: string; env: Environment }): readonly PluginConfig[] {
  const { tree } = parseTree(text, options);
  const plugins = findEntry(tree, "plugins");
  if (!tree || !plugins) return [];
  return new Reader(tree, options.file).read(configuration.fields.plugins.shape, plugins) ?? [];
}

/** The admin interface alone: who talks to a running proxy needs no more of its file to be right. */
export function loadAdmin(
  text: string,
  options: { file: string; env: Environment },
): { admin: Config["admin"] | undefined; problems: readonly Problem[] } {
  const { tree, problems } = parseTree(text, options);
  if (!tree) return { admin: undefined, problems };
  const reader = new Reader(tree, options.file);
  const { shape, otherwise } = configuration.fields.admin;
  const given = findEntry(tree, "admin") ?? makeTree(typeof otherwise === "object" ? otherwise.default : null, tree.at);
  const admin = reader.read(shape, given);
  const own = problems.filter(({ path }) => path === "admin" || path.startsWith("admin."));
  return { admin, problems: [...own, ...reader.problems] };
}

type Checked = Omit<Config, "file">;

/** Two listeners on one address, or one on the admin interface's. Port 0 is a free port for each. */
function checkAddresses({ listeners, admin }: Checked): Problem[] {
  const owners = new Map<string, string>();
  const problems: Problem[] = [];
  const isFixed = (address: Address | null | undefined) => address && (address.port !== 0 || address.path !== "");
  if (admin?.address && isFixed(admin.address)) owners.set(identify(admin.address), "the admin interface");
  if (admin?.metrics && isFixed(admin.metrics)) {
    if (owners.has(identify(admin.metrics)))
      problems.push({
        ...admin.at,
        message: `the address ${admin.metrics.text} belongs to the admin interface already`,
      });
    owners.set(identify(admin.metrics), "the metrics");
  }
  for (const { name, address, at } of listeners) {
    if (!isFixed(address)) continue;
    const key = identify(address);
    const owner = owners.get(key);
    if (owner) problems.push({ ...at, message: `the address ${address.text} belongs to ${owner} already` });
    else owners.set(key, `the listener "${name}"`);
  }
  return problems;
}

function identify({ host, port, path }: Address): string {
  if (path !== "") return path;
  const name = host === "" || host === "::" || host === "0.0.0.0" ? "*" : host.toLowerCase();
  return `${name} ${port}`;
}

/** Rules that no request can reach, because an earlier one takes all of theirs. A router may pass a request on. */
function checkReach({ listeners }: Checked): Problem[] {
  return listeners.flatMap(({ routes }) =>
    routes.flatMap((route, index): Problem[] => {
      const before = routes.slice(0, index).findIndex((earlier) => takesAll(earlier, route));
      if (before < 0) return [];
      const at: Place = route.at;
      return [{ ...at, message: `no request reaches this rule: rule ${before} before it matches all that it matches` }];
    }),
  );
}

function takesAll(earlier: RouteConfig, later: RouteConfig): boolean {
  return earlier.action.kind !== "router" && covers(earlier.match, later.match);
}

/** Whether every request that `narrow` matches is matched by `wide`. False when that is not plain to see. */
function covers(wide: MatchConfig, narrow: MatchConfig): boolean {
  const fixed = narrow.path ?? narrow.prefix;
  return (
    (wide.host === undefined || (narrow.host !== undefined && coversHost(wide.host, narrow.host))) &&
    (wide.path === undefined || wide.path === narrow.path) &&
    (wide.prefix === undefined || fixed?.startsWith(wide.prefix) === true) &&
    (wide.regex === undefined || wide.regex === narrow.regex) &&
    (wide.method === undefined || narrow.method?.every((one) => wide.method?.includes(one)) === true) &&
    coversTable(wide.headers, narrow.headers) &&
    coversTable(wide.query, narrow.query)
  );
}

function coversHost(wide: string, narrow: string): boolean {
  return wide === narrow || (wide.startsWith("*.") && narrow.replace(/^\*/, "x").endsWith(wide.slice(1)));
}

type Table = Readonly<Record<string, string>> | undefined;
function coversTable(wide: Table = {}, narrow: Table = {}): boolean {
  return Object.entries(wide).every(([name, value]) => Object.hasOwn(narrow, name) && narrow[name] === value);
}
