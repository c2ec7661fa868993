/**
 * Applies the outputs of an Extism plugin's hooks: JSON that is validated completely, then applied by the edits of all
 * ABIs.
 */
import { ATTRIBUTE, HEADERS, HOOK, HOOKS, LIMIT, RESULT, STATUS } from "../../../abi/abi.ts";
import { WORK } from "../../../abi/prices.ts";
import { Fault } from "../../host/fault.ts";
import { setAttribute } from "../attribute-edits.ts";
import type { CallContext } from "../call-context.ts";
import { ownHeader, removeHeader, setHeader } from "../head-edits.ts";
import { type ExtismHook, HOOK_EXPORTS } from "./interface.ts";
import { type Fields, type Output, Outputs } from "./output-schema.ts";

/** Scratch space for texts as bytes, shared by all guests of the worker. */
const scratch = Buffer.alloc(LIMIT.headerName + LIMIT.headerValue);

/** The outputs of one guest: parsed, validated and applied. */
export class HookOutputs {
  readonly #requests = new Outputs("request");
  readonly #routes = new Outputs("route");
  readonly #responses = new Outputs("response");
  readonly #picks = new Outputs("pick");
  readonly #connections = new Outputs("connection");
  readonly #checks = new Outputs("health");
  readonly #ticks = new Outputs("tick");

  /** Applies the output `bytes[start, end)`; returns the hook's result. @throws Fault */
  apply(context: CallContext, hook: number, bytes: Buffer, start: number, end: number): number {
    switch (hook) {
      case HOOK.request_head:
        return applyRequest(context, this.#requests.parse(bytes, start, end));
      case HOOK.route:
        return applyRequest(context, this.#routes.parse(bytes, start, end));
      case HOOK.response_head:
        return applyResponse(context, this.#responses.parse(bytes, start, end));
      case HOOK.pick:
        return this.#picks.parse(bytes, start, end);
      case HOOK.connection:
        return applyConnection(context, this.#connections.parse(bytes, start, end));
      case HOOK.health_check:
        return this.#checks.parse(bytes, start, end).healthy === false ? RESULT.reject : RESULT.continue;
      case HOOK.tick: {
        const { every } = this.#ticks.parse(bytes, start, end);
        if (every !== undefined) context.configuration!.tickEvery(every);
        return RESULT.continue;
      }
      default:
        throw new Fault("bad_result", `${HOOK_EXPORTS[HOOKS[hook] as ExtismHook]} has no output, but one was set`);
    }
  }
}

function applyRequest(context: CallContext, output: Output<"request">): number {
  const { method, path, query, headers, cluster, strategy, respond, reject, buffer } = output;
  if (method !== undefined) setText(context, ATTRIBUTE.method, "method", method);
  if (path !== undefined) setText(context, ATTRIBUTE.path, "path", path);
  if (query !== undefined) setText(context, ATTRIBUTE.query, "query", query);
  if (headers !== undefined) {
    for (const name of headers.own ?? []) {
      const end = write("headers.own", name, 0, LIMIT.headerName);
      const removed = ownHeader(context, scratch, 0, end);
      if (removed < 0) refuse("headers.own", name, removed);
    }
    editHeaders(context, HEADERS.request, headers);
  }
  if (cluster !== undefined) chooseCluster(context, cluster);
  if (strategy !== undefined) chooseStrategy(context, strategy);
  if (respond !== undefined) return respondWith(context, respond);
  if (reject === true) return RESULT.reject;
  return buffer === true ? RESULT.buffer : RESULT.continue;
}

function applyResponse(context: CallContext, output: Output<"response">): number {
  const { status, headers, respond, buffer } = output;
  if (respond !== undefined) return respondWith(context, respond);
  if (status !== undefined) setText(context, ATTRIBUTE.status, "status", String(status));
  if (headers !== undefined) editHeaders(context, HEADERS.response, headers);
  return buffer === true ? RESULT.buffer : RESULT.continue;
}

function applyConnection(context: CallContext, { cluster, reject }: Output<"connection">): number {
  if (cluster !== undefined) chooseCluster(context, cluster);
  return reject === true ? RESULT.reject : RESULT.continue;
}

function respondWith(context: CallContext, respond: NonNullable<Output<"request">["respond"]>): number {
  const { status = 200, headers, body = "", bodyBase64 } = respond;
  sendLocal(context, status, bodyBase64 === undefined ? Buffer.from(body, "utf8") : Buffer.from(bodyBase64, "base64"));
  if (headers !== undefined) addFields(context, HEADERS.response, "respond.headers", headers, true);
  return RESULT.respond;
}

/** Sets the local response. @throws Fault */
export function sendLocal(context: CallContext, status: number, body: Buffer): void {
  const exchange = context.scope.responding();
  if (exchange === null) throw new Fault("bad_result", "respond: a response cannot be given in this hook");
  if (body.length > LIMIT.responseBody)
    throw new Fault("bad_result", `respond.body: ${body.length} bytes, expected at most ${LIMIT.responseBody}`);
  context.charges.keepBody("respond", body.length);
  context.spend(WORK.keptByte * body.length);
  context.scope.respond(exchange, status, body);
}

function editHeaders(context: CallContext, part: number, headers: NonNullable<Output<"response">["headers"]>): void {
  for (const name of headers.remove ?? []) {
    const end = write("headers.remove", name, 0, LIMIT.headerName);
    const removed = removeHeader(context, part, scratch, 0, end);
    if (removed < 0) refuse("headers.remove", name, removed);
  }
  if (headers.set !== undefined) addFields(context, part, "headers.set", headers.set, true);
  if (headers.add !== undefined) addFields(context, part, "headers.add", headers.add, false);
}

function addFields(context: CallContext, part: number, at: string, fields: Fields, replaces: boolean): void {
  for (const name in fields) {
    const values = fields[name]!;
    if (typeof values === "string") addField(context, part, at, name, values, replaces);
    else for (let i = 0; i < values.length; i++) addField(context, part, at, name, values[i]!, replaces && i === 0);
  }
}

function addField(
  context: CallContext,
  part: number,
  at: string,
  name: string,
  value: string,
  replaces: boolean,
): void {
  const nameEnd = write(at, name, 0, LIMIT.headerName);
  const valueEnd = write(at, value, nameEnd, LIMIT.headerValue);
  const status = setHeader(context, part, scratch, 0, nameEnd, nameEnd, valueEnd, replaces);
  if (status !== STATUS.ok) refuse(at, name, status);
}

function setText(context: CallContext, attribute: number, key: string, text: string): void {
  const end = write(key, text, 0, LIMIT.headerValue);
  context.spend(WORK.targetByte * end);
  const status = setAttribute(context, attribute, scratch, 0, end);
  if (status !== STATUS.ok) refuse(key, "", status);
}

export function chooseCluster(context: CallContext, name: string): void {
  const target = context.scope.choosingCluster();
  const id = target === null ? STATUS.notHere : context.configuration!.findCluster(name);
  const index = id < 0 ? id : context.configuration!.clusterIndex(id);
  if (index < 0) refuseChoice("cluster", name, index, "allow.clusters");
  target!.chosenCluster = index;
}

export function chooseStrategy(context: CallContext, name: string): void {
  const exchange = context.scope.choosing();
  const id = exchange === null ? STATUS.notHere : context.configuration!.findStrategy(name);
  const index = id < 0 ? id : context.configuration!.strategyIndex(id);
  if (index < 0) refuseChoice("strategy", name, index, "the cluster's strategies");
  exchange!.chosenStrategy = index;
}

/** Writes a text as bytes from `at`; returns their end. @throws Fault */
function write(key: string, text: string, at: number, most: number): number {
  const { length } = text;
  if (length > most) throw new Fault("bad_result", `${key}: a text of ${length} characters, expected at most ${most}`);
  for (let i = 0; i < length; i++) {
    const code = text.charCodeAt(i);
    if (code > 255)
      throw new Fault("bad_result", `${key}: the character U+${code.toString(16).padStart(4, "0")} is no byte`);
    scratch[at + i] = code;
  }
  return at + length;
}

export function refuse(key: string, name: string, status: number): never {
  const what = name === "" ? key : `${key}: ${JSON.stringify(name.slice(0, LIMIT.headerName))}`;
  const why = EDIT_PROBLEMS[status] ?? "is not valid there, or one that plugins may not change";
  throw new Fault("bad_result", `${what} ${why}`);
}

const EDIT_PROBLEMS: Readonly<Record<number, string>> = {
  [STATUS.tooLarge]: "is over a limit",
  [STATUS.denied]: "is hidden from the plugin (allow.headers.hide)",
  [STATUS.notHere]: "cannot be changed in this hook",
};

function refuseChoice(key: string, name: string, status: number, allowed: string): never {
  const denied = status === STATUS.denied ? `is not one that the plugin may choose (${allowed})` : "is unknown";
  const why = status === STATUS.notHere ? "cannot be chosen in this hook" : denied;
  throw new Fault("bad_result", `${key}: ${JSON.stringify(name.slice(0, LIMIT.headerName))} ${why}`);
}
