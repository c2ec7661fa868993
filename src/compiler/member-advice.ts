/** What to write instead of members that classes of the SDK and of the library do not have. */
import { readFileSync } from "node:fs";
import { findNearest } from "../config/place.ts";

export const LACKS = "AssemblyScript has no";
export const MISSING_OBJECTS = `${LACKS} objects without a class: write a class with fields, or \`new Map<string, string>()\` and \`set\``;

/** Members of the SDK's classes, by the names that they have in JavaScript, Express or the Fetch API. */
const MEMBERS: Readonly<Record<string, string>> = {
  "Request.url": "write `req.target` (path and query), `req.path` or `req.query`",
  "Request.originalUrl": "write `req.original.target`",
  "Request.hostname": "write `req.host`",
  "Request.ip": "write `req.clientAddress`",
  "Request.body": "export `onRequestBody(req: Request, body: Body): void`",
  "Request.params": "write `new Regex(…).exec(req.path)`",
  "Request.cookies": "write `Cookies.get(req.headers, name)`",
  "Response.statusCode": "write `res.status`",
  "Response.body": "export `onResponseBody(req: Request, res: Response, body: Body): void`",
  "Response.send": "write `req.respond(status, body)`",
  "Response.json": "write `req.respond(status, body)`",
  "Response.end": "write `req.respond(status, body)`",
  "Response.set": "write `res.headers.set(name, value)`",
  "Response.redirect": 'write `req.respond(302).headers.set("location", url)`',
  "FetchResponse.json": "write `Json.parseText(response.text())`",
  "FetchResponse.headers": "write `response.header(name)`",
  "FetchResponse.body": "write `response.text()` or `response.bytes()`",
  "FetchResponse.statusCode": "write `response.status`",
  "Fetch.body": "write `text(body)` or `bytes(body)`",
  "Fetch.headers": "write `header(name, value)`, once for each",
  "JsonValue.length": "write `value.count`",
  "JsonValue.toString": "write `fromUtf8(value.raw())`",
  "Headers.append": "write `add(name, value)`",
  "Headers.delete": "write `remove(name)`",
};
/** Members of Request and Response that access headers as in Node or Express. */
const HEADER_MEMBERS: Readonly<Record<string, string>> = {
  setHeader: "write `headers.set(name, value)`",
  getHeader: "write `headers.get(name)`",
  header: "write `headers.get(name)`",
  removeHeader: "write `headers.remove(name)`",
};

/** Members by which JavaScript changes an object or a list. */
const CHANGES = /^(delete|set|add|push|pop|remove|splice|assign)$/;
const FIXED = "a value cannot be changed: `JsonMask` replaces parts of a text, `JsonWriter` writes one";
const LOOPS = /^(filter|forEach|map|find|findIndex|reduce|sort|some|every|slice|entries|values)$/;

/** `type` is the compiler's name for a class: `~lib/sluice/sdk/request/Request`. */
export function adviseMember(member: string, type: string): string | null {
  if (type === "~lib/string/String" && /^(match|matchAll|search)$/.test(member))
    return `a string has no \`${member}\`: write \`new Regex("…")\` of the SDK at the top of the file, with \`test\` and \`exec\``;
  if (type === "~lib/console/console")
    return `\`console.${member}\` is not available; use \`log\` of the SDK, such as \`log.info(text)\``;
  if (type === "~lib/process/process") return `\`process.${member}\` is not available in a plugin`;
  if (type === "~lib/object/Object") return MISSING_OBJECTS;
  if (type === "~lib/array/Array") return `\`Array\` has no \`${member}\`: fill an array in a loop, with \`push\``;
  if (type.startsWith("~lib/array/Array<") && /^find(Last)?$/.test(member))
    return `an array has no \`${member}\`: write \`findIndex\` or a loop`;
  if (type === "~lib/date/Date") return `\`Date\` has no \`${member}\`: it supports only UTC, as in \`getUTCHours()\``;
  const [, file, name] = /^~lib\/sluice\/sdk\/([\w-]+)\/(\w+)$/.exec(type) ?? [];
  if (name === undefined) return null;
  const key = `${name}.${member}`;
  const isMessage = name === "Request" || name === "Response";
  if (Object.hasOwn(MEMBERS, key)) return `${name} has no \`${member}\`: ${MEMBERS[key]}`;
  if (isMessage && Object.hasOwn(HEADER_MEMBERS, member))
    return `${name} has no \`${member}\`: ${HEADER_MEMBERS[member]}`;
  if (name === "JsonValue")
    return `JsonValue has no \`${member}\`: ${CHANGES.test(member) ? FIXED : `write \`value.get("${member}")\`; ${FIXED}`}`;
  if (name === "Endpoints" && LOOPS.test(member))
    return `Endpoints has no \`${member}\`: write \`for (let i = 0; i < endpoints.length; i++)\`, with \`endpoints.inFlight(i)\` in it`;
  const members = readMembers(file!, name);
  const names = members.map((one) => one.replace("()", ""));
  if (names.length === 0 || names.includes(member)) return null;
  const near = findNearest(member, names);
  const list = members.join(", ");
  return `Property '${member}' does not exist on ${name}, ${near === undefined ? `which has ${list}` : `did you mean \`${near}\`? It has ${list}`}`;
}

/** The public members of a class or namespace of the SDK, methods as `name()`. */
function readMembers(file: string, name: string): string[] {
  const text = readFileSync(new URL(`../../sdk/${file}.ts`, import.meta.url), "utf8");
  const body = new RegExp(`^export (?:class|namespace) ${name}\\b[^]*?^}`, "m").exec(text)?.[0] ?? "";
  const found = body.matchAll(/^ {2}(?:static |export function )?(readonly |get |set )?([a-z]\w*)(?:<\w+>)?([(:])/gm);
  const members = Array.from(found, ([, prefix, member, end]) =>
    prefix === undefined && end === "(" ? `${member}()` : member!,
  );
  return [...new Set(members)].filter((member) => member !== "constructor()");
}
