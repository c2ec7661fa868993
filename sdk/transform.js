/**
 * AssemblyScript transform for plugins: checks the types of the exported hooks, and generates wrappers that export the hooks
 * under their names in the ABI. The plugin's file is no longer an entry file, so its other exports are not exported from the
 * module. Errors are reported at their position in the plugin's source.
 */
import { readFileSync } from "node:fs";
import { CommonFlags, DiagnosticCode, NodeKind, Range, SourceKind } from "assemblyscript";
import "./uncalled-method.js";

/** Module paths of the SDK. */
const SDK_PATH = /^~lib\/sluice\/sdk(\/index)?$/;
/** Runtimes of the compiler, which are entry files too. */
const RUNTIME_PATH = /^~lib\/rt\//;
/** The arena, which replaces the runtime `stub`. */
const ARENA_SOURCE = "~lib/sluice/sdk/runtime/arena.ts";
const ARENA = new URL("./runtime/arena.ts", import.meta.url);
const STUB_PATH = /^~lib\/rt\/(index-)?stub\.ts$/;

const CALL = { enter: "sdk.enter(instance)", leave: "return sdk.leave(@)" };

/**
 * For each hook its name in the ABI, its parameters (trailing ones may be omitted), its return type, and the body of its
 * wrapper, where `%` is the call of the hook and `@` its source position.
 */
const HOOKS = {
  configure: { abi: "configure", params: [], returns: "void", body: "sdk.enterConfigure(instance); %; return 0" },
  onConnection: {
    abi: "connection",
    params: ["Connection"],
    returns: "void",
    body: `${CALL.enter}; %; ${CALL.leave}`,
  },
  onRequest: { abi: "request_head", params: ["Request"], returns: "void", body: `${CALL.enter}; %; ${CALL.leave}` },
  route: { abi: "route", params: ["Request"], returns: "Cluster", body: `${CALL.enter}; return sdk.leaveRoute(%, @)` },
  onResponse: {
    abi: "response_head",
    params: ["Request", "Response"],
    returns: "void",
    body: `${CALL.enter}; %; ${CALL.leave}`,
  },
  onRequestBody: {
    abi: "request_body",
    params: ["Request", "Body"],
    returns: "void",
    body: `${CALL.enter}; %; ${CALL.leave}`,
  },
  onRequestTrailers: {
    abi: "request_trailers",
    params: ["Request", "Headers"],
    returns: "void",
    body: `${CALL.enter}; %; ${CALL.leave}`,
    arguments: { Headers: "sdk.requestTrailers" },
  },
  onResponseBody: {
    abi: "response_body",
    params: ["Request", "Response", "Body"],
    returns: "void",
    body: `${CALL.enter}; %; ${CALL.leave}`,
  },
  onResponseTrailers: {
    abi: "response_trailers",
    params: ["Request", "Response", "Headers"],
    returns: "void",
    body: `${CALL.enter}; %; ${CALL.leave}`,
    arguments: { Headers: "sdk.responseTrailers" },
  },
  update: {
    abi: "update",
    params: ["Endpoints"],
    returns: "void",
    body: "sdk.enterUpdate(instance); %; return sdk.leave(@)",
  },
  pick: {
    abi: "pick",
    params: ["Endpoints", "Request"],
    returns: "i32",
    body: "sdk.enterPick(instance); return sdk.leavePick(%, @)",
  },
  onOutcome: {
    abi: "outcome",
    params: ["Outcome", "Request"],
    returns: "void",
    body: `${CALL.enter}; %; ${CALL.leave}`,
  },
  onHealthCheck: {
    abi: "health_check",
    params: ["Endpoint"],
    returns: "bool",
    body: `${CALL.enter}; return sdk.leaveHealthCheck(%, @)`,
  },
  onTick: { abi: "tick", params: [], returns: "void", body: `${CALL.enter}; %; ${CALL.leave}` },
  onSave: { abi: "save", params: ["State"], returns: "void", body: `${CALL.enter}; %; ${CALL.leave}` },
  onRestore: { abi: "restore", params: ["State"], returns: "void", body: "sdk.enterRestore(instance); %; return 0" },
  onLog: { abi: "log", params: ["Request", "Response"], returns: "void", body: `${CALL.enter}; %; ${CALL.leave}` },
};

/** What the wrapper hands to a parameter of that type. */
const ARGUMENT = {
  Connection: "sdk.connection",
  Request: "sdk.request",
  Response: "sdk.response",
  Body: "sdk.body",
  Endpoint: "sdk.endpoint",
  Endpoints: "sdk.endpoints",
  Outcome: "sdk.outcome",
  State: "sdk.state",
};

/** Parameter names in messages. */
const SHORT = {
  Connection: "connection",
  Request: "req",
  Response: "res",
  Body: "body",
  Headers: "trailers",
  Endpoint: "endpoint",
  Endpoints: "endpoints",
  Outcome: "outcome",
  State: "state",
};

/** Advice for imports of AssemblyScript's library, by import name: the pattern in the source, and the replacement. */
const INSTEAD = {
  "Date.now": [/\bDate\.now\b/, "use `now` of the SDK"],
  seed: [/\bMath\.random\b/, "use `randomFloat` or `random` of the SDK"],
  "console.log": [/\bconsole\.\w+/, "use `log` of the SDK, such as `log.info(text)`"],
  trace: [/\btrace\b/, "use `log` of the SDK"],
  "process.env": [/\bprocess\.env\b/, "use `Config` of the SDK; the configuration takes variables"],
  "performance.now": [/\bperformance\.now\b/, "use `now` or `preciseNow` of the SDK"],
};

export default class SluiceTransform {
  afterParse(parser) {
    this.insertArena(parser);
    const entries = parser.sources.filter(
      (s) =>
        s.sourceKind === SourceKind.UserEntry &&
        !RUNTIME_PATH.test(s.normalizedPath) &&
        s.normalizedPath !== ARENA_SOURCE,
    );
    for (const source of entries) {
      const plugin = readPlugin(source, (range, message) =>
        parser.error(DiagnosticCode.Transform_0_1, range, "sluice", message),
      );
      source.sourceKind = SourceKind.User;
      const path = source.normalizedPath.replace(/\.ts$/, "~hooks.ts");
      parser.parseFile(writeWrappers(plugin, source.simplePath), path, true);
    }
  }

  /** Reports imports of AssemblyScript's library from a JavaScript environment, which a plugin does not have. */
  afterCompile(module) {
    const { program, binaryen } = this;
    for (let i = 0; i < module.getNumFunctions(); i++) {
      const { module: group, base } = binaryen.getFunctionInfo(module.getFunctionByIndex(i));
      if (!group || group.startsWith("sluice:")) continue;
      const [written, hint] = INSTEAD[base] ?? adviseImport(base);
      const range = findInSources(program, written);
      const name = range ? range.source.text.slice(range.start, range.end) : base;
      program.error(DiagnosticCode.Transform_0_1, range, "sluice", `\`${name}\` is not available; ${hint}`);
    }
  }

  /**
   * Replaces `--runtime stub` by the arena. (With a path as `--runtime` the compiler assumes a garbage collector and emits a
   * shadow stack.)
   */
  insertArena(parser) {
    const stubs = parser.sources.filter((s) => STUB_PATH.test(s.normalizedPath));
    if (stubs.length === 0) return;
    for (const stub of stubs) parser.sources.splice(parser.sources.indexOf(stub), 1);
    parser.parseFile(readFileSync(ARENA, "utf8"), ARENA_SOURCE, true);
  }
}

/** The advice for another import: `console.warn`, `process.exit`, a declared function. */
function adviseImport(name) {
  const written = new RegExp(`\\b${name.replace(/[.$]/g, "\\$&")}\\b`);
  return [written, name.startsWith("console.") ? INSTEAD["console.log"][1] : "a plugin can import only the SDK"];
}

/** The first match of the pattern in the plugin's sources, or null. */
function findInSources(program, pattern) {
  for (const source of program.sources) {
    if (source.normalizedPath.startsWith("~lib/") || source.normalizedPath.endsWith("~hooks.ts")) continue;
    const found = pattern.exec(source.text);
    if (found === null) continue;
    const range = new Range(found.index, found.index + found[0].length);
    range.source = source;
    return range;
  }
  return null;
}

/** Reads and checks the hooks that a file exports. `report(range, message)` is called for each error. */
function readPlugin(source, report) {
  const names = importedNames(source);
  const hooks = [];
  let servesMany = false;
  for (const statement of source.statements) {
    if (statement.kind === NodeKind.FunctionDeclaration && statement.flags & CommonFlags.Export) {
      if (checkHook(statement, names, report)) hooks.push(statement);
    } else if (statement.kind === NodeKind.Variable) {
      for (const variable of statement.declarations) {
        const name = variable.name.text;
        if (!(variable.flags & CommonFlags.Export)) continue;
        if (Object.hasOwn(HOOKS, name))
          report(variable.name.range, `a hook must be a function: \`export function ${signature(name, HOOKS[name])}\``);
        if (name !== "servesMany") continue;
        if (variable.initializer?.kind === NodeKind.True) servesMany = true;
        else report(variable.range, "`servesMany` must be `export const servesMany = true`, or be omitted");
      }
    } else if (statement.kind === NodeKind.Export || statement.kind === NodeKind.ExportDefault) {
      report(statement.range, "export a hook where it is declared: `export function onRequest(…)`");
    }
  }
  if (
    hooks.length === 0 &&
    !source.statements.some((s) => s.kind === NodeKind.FunctionDeclaration && s.flags & CommonFlags.Export)
  )
    report(source.range.atStart, `no hook is exported; hooks are ${Object.keys(HOOKS).join(", ")}`);
  return { hooks, servesMany };
}

/** Maps local names to names in the SDK for all imports of the SDK; a namespace has the key `name.`. */
function importedNames(source) {
  const names = new Map();
  for (const statement of source.statements) {
    if (statement.kind !== NodeKind.Import || !SDK_PATH.test(statement.internalPath)) continue;
    if (statement.namespaceName) names.set(`${statement.namespaceName.text}.`, "");
    for (const declaration of statement.declarations ?? [])
      names.set(declaration.name.text, declaration.foreignName.text);
  }
  return names;
}

function checkHook(declaration, names, report) {
  const name = declaration.name.text;
  const hook = Object.hasOwn(HOOKS, name) ? HOOKS[name] : null;
  if (!hook) {
    const near = nearest(name, Object.keys(HOOKS));
    const hint = near ? `did you mean \`${near}\`?` : `hooks are ${Object.keys(HOOKS).join(", ")}`;
    report(declaration.name.range, `\`${name}\` is not a hook; ${hint} (helper functions must not be exported)`);
    return false;
  }
  if (declaration.typeParameters?.length) {
    report(declaration.name.range, `\`${name}\` is a hook and cannot be generic`);
    return false;
  }
  const { parameters, returnType } = declaration.signature;
  let valid = true;
  const expected = `expected \`${signature(name, hook)}\``;
  parameters.forEach((parameter, i) => {
    if (i >= hook.params.length)
      report(parameter.range, `\`${name}\` is called with ${hook.params.length} arguments; ${expected}`);
    else if (isNotImported(parameter.type, names, hook.params[i]))
      report(
        parameter.type.range,
        `\`${hook.params[i]}\` is not imported: write \`import { ${hook.params[i]} } from "sluice/sdk"\``,
      );
    else if (typeName(parameter.type, names) !== hook.params[i])
      report(parameter.type.range, `parameter ${i + 1} of \`${name}\` is a ${hook.params[i]}; ${expected}`);
    else return;
    valid = false;
  });
  if (typeName(returnType, names, hook.returns === "Cluster") !== hook.returns) {
    report(returnType.range, `\`${name}\` returns ${hook.returns}; ${expected}`);
    valid = false;
  }
  return valid;
}

/** Whether the type has the name of an SDK type that the file does not import. */
function isNotImported(type, names, expected) {
  if (type.kind !== NodeKind.NamedType || type.name.next || names.has(expected)) return false;
  return type.name.identifier.text === expected && !names.has(`${expected}.`);
}

function signature(name, hook) {
  const params = hook.params.map((type) => `${SHORT[type]}: ${type}`).join(", ");
  return `${name}(${params}): ${hook.returns === "Cluster" ? "Cluster | null" : hook.returns}`;
}

/** The SDK's name of a type, or the name of a native type; "" for anything else. */
function typeName(type, names, nullable = false) {
  if (type.kind !== NodeKind.NamedType || type.typeArguments?.length || (type.isNullable && !nullable)) return "";
  const first = type.name.identifier.text;
  if (type.name.next) return names.has(`${first}.`) && !type.name.next.next ? type.name.next.identifier.text : "";
  if (names.has(first)) return names.get(first);
  return first === "void" || first === "i32" || first === "bool" ? first : "";
}

function writeWrappers({ hooks, servesMany }, module) {
  // A namespace import, since wrappers and SDK functions may have equal names.
  const lines = ['import * as sdk from "sluice/sdk/hooks";'];
  // Start-up code runs in the order of imports: this must precede the plugin's.
  if (servesMany) lines.push('import "sluice/sdk/serves-many";');
  const imports = hooks.map((h) => `${h.name.text} as plugin_${h.name.text}`).join(", ");
  lines.push(hooks.length ? `import { ${imports} } from "./${module}";` : `import "./${module}";`);
  lines.push("export function sluice_abi(): i32 { return 1; }");
  if (servesMany) lines.push("export function sluice_serves_many(): i32 { return 1; }");
  for (const declaration of hooks) lines.push(wrapper(declaration));
  const names = hooks.map((h) => h.name.text);
  // The SDK's endpoint tables must be updated even if the plugin has no `update`.
  if (names.includes("pick") && !names.includes("update"))
    lines.push(
      'export function update(instance: i32, exchange: i32): i32 { sdk.enterUpdate(instance); return sdk.leave(""); }',
    );
  return `${lines.join("\n")}\n`;
}

function wrapper(declaration) {
  const hook = HOOKS[declaration.name.text];
  const args = declaration.signature.parameters
    .map((_, i) => hook.arguments?.[hook.params[i]] ?? ARGUMENT[hook.params[i]])
    .join(", ");
  const body = hook.body
    .replace("@", JSON.stringify(placeOf(declaration.name.range)))
    .replace("%", `plugin_${declaration.name.text}(${args})`);
  return `export function ${hook.abi}(instance: i32, exchange: i32): i32 { ${body}; }`;
}

/** `file:line:column`. */
function placeOf({ source, start }) {
  // `columnAt` refers to the line of the last `lineAt`.
  const line = source.lineAt(start);
  return `${source.normalizedPath}:${line}:${source.columnAt()}`;
}

/** The candidate within two edits of `name`, if there is one. */
function nearest(name, candidates) {
  let best = null;
  let least = 3;
  for (const candidate of candidates) {
    const edits = distance(name.toLowerCase(), candidate.toLowerCase());
    if (edits < least) {
      least = edits;
      best = candidate;
    }
  }
  return best;
}

function distance(a, b) {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++)
      next[j] = Math.min(row[j] + 1, next[j - 1] + 1, row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1));
    row = next;
  }
  return row[b.length];
}
