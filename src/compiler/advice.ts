/**
 * Replaces compiler messages about JavaScript or TypeScript features that AssemblyScript lacks. The compiler's messages name
 * the token that its parser expected; these name the missing feature and what to write instead.
 */
import { readFileSync } from "node:fs";
import { adviseMember, LACKS, MISSING_OBJECTS } from "./member-advice.ts";

/** A diagnostic: its message, the source text, and its start offset. */
export type Diagnostic = { readonly message: string; readonly text: string; readonly start: number };

const MISSING_FUNCTIONS = `${LACKS} async functions: leave out \`async\` and \`await\`; calls such as \`new Fetch(url).send()\` and \`sleep(ms)\` return their result synchronously`;
const MISSING_DESTRUCTURING = `${LACKS} destructuring: write one declaration for each value, such as \`const path = req.path\``;
const NAMED_HOOK = "write a hook as `export function NAME(…): …`, not as a variable";
const NAMED_EXPORT = "write `export function NAME(…): …`";
const NEW_MAP =
  "a new Map or Set is empty, and has types: write `new Map<string, string>()`, then `set` for each entry";
const UNTYPED =
  "AssemblyScript does not infer types of parameters and results: write them, such as `(req: Request): void`";

/** Syntax errors, by the source text from the error on. */
const SYNTAX: readonly (readonly [at: RegExp, advice: string])[] = [
  [/^(export\s+)?(default\s+)?async\b/, MISSING_FUNCTIONS],
  [/^await\b/, MISSING_FUNCTIONS],
  [/^(const|let|var)\s*[[{]/, MISSING_DESTRUCTURING],
  [/^\(?\s*[[{][^()]*[\]}]\s*:/, MISSING_DESTRUCTURING],
  [/^\*/, `${LACKS} generators: fill an array and return it`],
  [/^\w+\s+in\b/, `${LACKS} for…in: the fields of a class are static; for the keys of a Map write \`map.keys()\``],
];

/** Syntax errors at operators, by the two characters before and at the error. */
const OPERATORS: Readonly<Record<string, string>> = {
  "?.": `${LACKS} \`?.\`: write \`if (value != null) …\`, or \`value!.name\` where it cannot be null`,
  "|=": `${LACKS} \`||=\`: write \`if (!value) value = other\``,
  "&=": `${LACKS} \`&&=\`: write \`if (value) value = other\``,
  "??": `${LACKS} \`??\`: write \`value != null ? value : other\`, or for texts \`value || other\``,
};

/** Other errors, by the message of the compiler. */
const MESSAGES: readonly (readonly [message: RegExp, advice: string])[] = [
  [/^Not implemented: Spread operator/, `${LACKS} spread: \`a.concat(b)\`, or \`push\` in a loop`],
  [/^Not implemented: 'in' operator/, `${LACKS} \`in\`: write \`map.has(key)\` or \`list.includes(value)\``],
  [/^Type '<object>' is not assignable/, MISSING_OBJECTS],
  [/^Not implemented: Interface hidden classes/, MISSING_OBJECTS],
  [
    /^Not implemented: Closures/,
    `${LACKS} closures: a function can use only its own variables and those at the top of the file; write a loop`,
  ],
  [/^Not implemented: Iterators/, `${LACKS} for…of: write \`for (let i = 0; i < list.length; i++)\``],
  [
    /^Not implemented: Exceptions/,
    `${LACKS} try/catch: a \`throw\` ends the call, and \`onFailure\` determines the response; use functions that return null on failure`,
  ],
  [
    /^Not implemented: Regular expressions/,
    `${LACKS} regular expression literals: write \`const pattern = new Regex("…")\` of the SDK at the top of the file`,
  ],
  [
    /^Not implemented: union types/,
    `${LACKS} union types but \`Type | null\`: write one function for each type, or a generic one`,
  ],
  [/^Type expected/, UNTYPED],
  [/^Index signature is missing in type '.*\/Endpoints'/, "an endpoint is no object: write `endpoints.inFlight(i)`"],
  [/^Index signature is missing in type '.*\/JsonValue'/, "write `value.get(name)`, or `value.at(i)` of an array"],
  [
    /^Index signature is missing/,
    "`[name]` does not access fields: write the field's name, such as `req.path`, or `req.headers.get(name)`",
  ],
  [/^Type argument expected/, "write the type of the result, such as `list.map<string>(…)`"],
  [
    /^Type '~lib\/string\/String \| null' is not assignable/,
    'it may be null: test it with `if (value != null)`, or write `value || ""`',
  ],
  [
    /^Type '[^']+ \| null' is not assignable/,
    "it may be null: test it with `if (value != null)`, or write `value!` where it cannot be null",
  ],
  [/^Type '~lib\/typedarray\/Uint8Array' is not .*StaticArray<u8>'/, "convert it by `fromView(bytes)` of the SDK"],
  [/^Type '~lib\/staticarray\/StaticArray<u8>' is not .*Uint8Array'/, "convert it by `toView(bytes)` of the SDK"],
  [/^Type '~lib\/string\/String' is not .*StaticArray<u8>'/, "convert it by `toUtf8(text)` of the SDK"],
  [/^Type '~lib\/staticarray\/StaticArray<u8>' is not .*String'/, "convert it by `fromUtf8(bytes)` of the SDK"],
];

/** Replacements for names of other environments. */
const NAMES: Readonly<Record<string, string>> = {
  JSON: "use `Json`, `JsonWriter` or `JsonMask` of the SDK",
  fetch: "write `new Fetch(url).send()` of the SDK; it returns the response",
  setTimeout: "call `sleep(ms)` of the SDK, or export `onTick`",
  setInterval: "call `tickEvery(ms)` of the SDK and export `onTick`",
  delete: `${LACKS} delete: write \`map.delete(key)\`, or \`req.headers.remove(name)\``,
  undefined: `${LACKS} undefined: use null, or a special value`,
  any: `${LACKS} any: write the type, or a generic function`,
  unknown: `${LACKS} unknown: write the type, or a generic function`,
  Record: "write `Map<string, string>`",
  Promise: MISSING_FUNCTIONS,
  URL: "use `Url` of the SDK",
  URLSearchParams: "use `Query` of the SDK",
  RegExp: "use `Regex` of the SDK",
  Buffer: "use `Bytes` and `toBytes` of the SDK",
  TextEncoder: "use `toUtf8` of the SDK",
  TextDecoder: "use `fromUtf8` of the SDK",
  atob: "use `Base64` of the SDK",
  btoa: "use `Base64` of the SDK",
  crypto: "use `sha256`, `hmacSha256` and `randomBytes` of the SDK",
  require: 'a plugin can import the SDK and local files: `import { … } from "sluice/sdk"`',
  module: NAMED_EXPORT,
  exports: NAMED_EXPORT,
  WeakMap: "use `Map`; an entry lasts for the call, and `req.set` for the request",
  globalThis: "variables at the top of the file are the plugin's globals",
};

let exported: ReadonlySet<string> | null = null;

/** The replacement for a compiler message, or the message itself. */
export function advise({ message, text, start }: Diagnostic): string {
  const rest = text.slice(start, start + 200);
  const missing = /^File '~lib\/(.+?)\.ts' not found/.exec(message)?.[1];
  if (missing !== undefined) return adviseImport(missing);
  const [, member, type] = /^Property '(\w+)' does not exist on type '(.+?)'/.exec(message) ?? [];
  if (member !== undefined && /process\.env\.$/.test(text.slice(0, start)))
    return `a plugin has no environment: write \`config: { name: "\${${member}}" }\` in sluice.yaml, and \`Config.string("name")\` here`;
  if (type?.startsWith("~lib/function/Function<")) {
    const method = /(\w+(?:\.\w+)*)\.$/.exec(text.slice(Math.max(0, start - 200), start))?.[1];
    if (method !== undefined) return adviseMethod(method);
  }
  if (member !== undefined) return adviseMember(member, type!) ?? message;
  const unknown = /^Cannot find name '(\w+)'/.exec(message)?.[1];
  if (unknown !== undefined) return adviseName(unknown) ?? message;
  if (/expected\.$|must be initialized\.$/.test(message)) {
    const operator = OPERATORS[text.slice(start - 1, start + 1)];
    if (operator !== undefined) return operator;
    for (const [at, advice] of SYNTAX) if (at.test(rest)) return advice;
    const before = text.slice(Math.max(0, start - 40), start);
    if (/export\s+default\s*\{?\s*$/.test(before)) return NAMED_HOOK;
    if (/export\s+default\s+function\s*$/.test(before))
      return "a hook has a name: write `export function NAME(…): …`, without `default`";
  }
  if (/^new Date\(\)/.test(rest)) return "`new Date()` is not available: use `now` and `Time` of the SDK";
  if (/^Number\(/.test(rest)) return "`Number()` is not available: write `parseInt(text)` or `parseFloat(text)`";
  if (/^String\(/.test(rest)) return "`String()` is not available: write `value.toString()`";
  if (/^Boolean\(/.test(rest)) return "`Boolean()` is not available: write `value != null`, or `value.length > 0`";
  if (/^log\s*\(/.test(rest)) return "`log` is not a function: write `log.info(text)`";
  if (/\bnew\s+(Map|Set)$/.test(text.slice(0, start)) || /^new\s+(Map|Set)\b[^;]*\(\s*[^)\s]/.test(rest))
    return NEW_MAP;
  if (/^new\s+Response\b/.test(rest))
    return "a plugin responds by `req.respond(status, body)`, and continues with `return`";
  if (/^RegExp\b/.test(rest)) return `\`RegExp\` is not available: ${NAMES.RegExp}`;
  if (rest.startsWith("{") && /abstract class/.test(message)) return MISSING_OBJECTS;
  if (rest.startsWith("#") && message === "Invalid character.") return `${LACKS} \`#name\`: write \`private name\``;
  if (/^Expected 1 arguments, but got \d/.test(message) && /^(console|log)\.\w+\(/.test(rest))
    return '`log.info` of the SDK takes one string: concatenate values, such as `a + " " + b`';
  if (/^Expected 1 arguments, but got 2/.test(message) && rest.startsWith("new Fetch"))
    return '`new Fetch(url)` takes no options: write `.method("POST")`, `.header(name, value)`, `.text(body)`, `.timeout(ms)` before `.send()`';
  if (/^Type '[iuf](8|16|32|64)' is not assignable to type '~lib\/string\/String'/.test(message))
    return `${shorten(message).replace(/\.$/, "")}: convert a number to a string by \`value.toString()\``;
  if (message === "Type expected." && rest.startsWith("{")) return MISSING_OBJECTS;
  if (message === "Type expected." && rest.startsWith(";"))
    return "a variable has a value or a type: write `let name = value` or `let name: string`";
  return (
    adviseCall(message, rest) ??
    adviseCast(message, rest) ??
    MESSAGES.find(([pattern]) => pattern.test(message))?.[1] ??
    shorten(message)
  );
}

/** Types of the library by their names: `~lib/sluice/sdk/json/JsonValue` is JsonValue. */
function shorten(message: string): string {
  return message.replaceAll("~lib/string/String", "string").replace(/~lib\/[\w/-]+\/(?=\w)/g, "");
}

/** Whether the message only follows from an error in the value of a variable, whose type is then unknown. */
export function isConsequence({ message }: Pick<Diagnostic, "message">): boolean {
  return /^Type 'auto' is not|does not exist on type 'auto'/.test(message);
}

/** A method without its call, and a property with one. `rest` begins with the expression. */
function adviseCall(message: string, rest: string): string | null {
  if (/^Cannot assign to '~lib\/sluice\/sdk\/body\/Body#/.test(message))
    return "write `body.replaceText(text)`, or `body.replace(bytes)`";
  const [, path = "", index] = /^(\w+(?:\.\w+)*)(\[\w+\])?/.exec(rest) ?? [];
  if (/^Type '\(this: .*\) => .*' is not assignable|^Operator '(&&|\|\|)' .* types '\(this: /.test(message))
    return adviseMethod(path);
  if (!path.includes(".")) return null;
  if (/lacks a call signature/.test(message)) return `\`${path}\` is a property: write it without \`()\``;
  if (index !== undefined && message === "Expression cannot be represented by a type.")
    return `if \`${path}\` is a method, write \`${path}()${index}\``;
  return null;
}

/** A conversion that may lose a part of the number: in JavaScript all numbers are alike. */
function adviseCast(message: string, rest: string): string | null {
  const [, from = "", to] = /^Conversion from type '(\w+)' to '(\w+)' requires an explicit cast/.exec(message) ?? [];
  if (to === undefined) return null;
  const value = /^\w+(?:\.\w+)*(?:\([^()]*\))?/.exec(rest)?.[0] ?? "value";
  const kind = /^f/.test(from) && !/^f/.test(to) ? "a number with a fraction" : `a value of ${from}`;
  return `${kind} is not converted to ${to} by itself: write \`<${to}>${value}\``;
}

function adviseMethod(path: string): string {
  const call = path.includes(".") ? `write \`${path}()\`` : "call it where it is read, as in `body.text()`";
  return `\`${path}\` is a method: ${call}`;
}

function adviseName(name: string): string | null {
  exported ??= readExports();
  const advice = Object.hasOwn(NAMES, name) ? NAMES[name]! : "";
  if (advice !== "") return advice.startsWith(LACKS) ? advice : `\`${name}\` is not available: ${advice}`;
  if (exported.has(name)) return `\`${name}\` is not imported: write \`import { ${name} } from "sluice/sdk"\``;
  return null;
}

function adviseImport(path: string): string {
  if (path === "sluice") return 'write `import { … } from "sluice/sdk"`';
  return `"${path}" is not available: plugins cannot use Node modules or npm packages for JavaScript; import from "sluice/sdk" and local AssemblyScript files ("./text")`;
}

/** The public names of the SDK. */
function readExports(): ReadonlySet<string> {
  const index = readFileSync(new URL("../../sdk/index.ts", import.meta.url), "utf8");
  return new Set(
    Array.from(index.matchAll(/^export \{([^}]*)\}/gm), ([, names]) => names!.split(","))
      .flat()
      .map((n) => n.trim()),
  );
}
