/** Writes the inputs of an Extism plugin's hooks: JSON of a request, a response, or endpoints. */
import { COLUMN, HOOK, HOOKS } from "../../../abi/abi.ts";
import type { TlsFacts } from "../../../net/tls-facts.ts";
import type { EndpointList, ExchangeContext, HookContext } from "../../host/hook-context.ts";
import type { HiddenNames } from "../hidden-names.ts";
import { upgradeOf } from "../visible-fields.ts";
import { jsonOf } from "./config-values.ts";
import { type ExtismHook, HOOK_EXPORTS } from "./interface.ts";
import { type JsonWriter, LONGEST } from "./json-writer.ts";

/** Most bytes of the keys of all members, and of the punctuation of a header and of an endpoint. */
const MEMBERS = 1024;
const FIELD = 16;
const ENDPOINT = 160;

/** An upper bound of the bytes of `writeRequest`; with `response`, of `writeResponse`. */
export function requestRoom(exchange: ExchangeContext, response: boolean): number {
  const { request, clientAddress, listenerName, routeName, clusterName, endpoint, tls } = exchange;
  const names = clientAddress.length + listenerName.length + routeName.length + clusterName.length;
  const texts =
    request.end + names + (endpoint === null ? 0 : endpoint.address.length) + (tls === null ? 0 : sizeOf(tls));
  const own = MEMBERS + LONGEST * texts + FIELD * request.count;
  return response ? own + LONGEST * exchange.response.end + FIELD * exchange.response.count : own;
}

/** Writes `{"hook":"on_request","scheme":…,"method":…,"headers":[…]}`. */
export function writeRequest(json: JsonWriter, exchange: ExchangeContext, hook: string, hidden: HiddenNames | null) {
  json.raw('{"hook":"');
  json.raw(hook);
  json.raw('",');
  writeRequestMembers(json, exchange, hidden);
  json.raw("}");
}

/** Writes `{"hook":"on_response","status":200,"headers":[…],"request":{…}}`. */
export function writeResponse(json: JsonWriter, exchange: ExchangeContext, hidden: HiddenNames | null): void {
  json.raw('{"hook":"on_response"');
  writeResponseMembers(json, exchange, hidden);
}

/** Writes `{"hook":"on_log","duration":1500,…}`, with the members of `writeResponse`. */
export function writeLog(json: JsonWriter, exchange: ExchangeContext, hidden: HiddenNames | null): void {
  json.figure('{"hook":"on_log","duration":', Math.max(0, Math.round((performance.now() - exchange.startedAt) * 1000)));
  json.figure(',"bytesReceived":', exchange.bytesReceived);
  json.figure(',"bytesSent":', exchange.bytesSent);
  json.figure(',"attempts":', exchange.attempts);
  writeResponseMembers(json, exchange, hidden);
}

function writeResponseMembers(json: JsonWriter, exchange: ExchangeContext, hidden: HiddenNames | null): void {
  const { response, endpoint } = exchange;
  json.figure(',"status":', exchange.localStatus === 0 ? response.status : exchange.localStatus);
  if (endpoint !== null) json.member(',"endpoint":', endpoint.address);
  if (exchange.error !== null) json.member(',"error":', exchange.error.code);
  json.raw(',"headers":');
  json.fields(response, hidden);
  json.raw(',"request":{');
  writeRequestMembers(json, exchange, hidden);
  json.raw("}}");
}

function writeRequestMembers(json: JsonWriter, exchange: ExchangeContext, hidden: HiddenNames | null): void {
  const { request } = exchange;
  json.raw('"scheme":');
  json.text(exchange.scheme);
  json.member(',"upgrade":', upgradeOf(request));
  json.member(',"client":', exchange.clientAddress);
  if (exchange.tls !== null) writeTls(json, exchange.tls);
  json.member(',"listener":', exchange.listenerName);
  json.member(',"route":', exchange.routeName);
  json.member(',"cluster":', exchange.clusterName);
  json.request(request, hidden);
}

function sizeOf({ version, serverName, clientSubject, clientNames, clientFingerprint }: TlsFacts): number {
  const client = clientSubject.length + clientNames.length + clientFingerprint.length;
  return version.length + serverName.length + client;
}

function writeTls(json: JsonWriter, tls: TlsFacts): void {
  json.raw(',"tls":{"version":');
  json.text(tls.version);
  json.member(',"serverName":', tls.serverName);
  json.member(',"clientSubject":', tls.clientSubject);
  json.member(',"clientNames":', tls.clientNames);
  json.member(',"clientFingerprint":', tls.clientFingerprint);
  json.raw("}");
}

/** An upper bound of the bytes of the endpoints in the input of `pick`, without the request. */
export function endpointsRoom({ count, list }: EndpointList): number {
  let bytes = MEMBERS;
  for (let i = 0; i < count; i++) bytes += ENDPOINT + LONGEST * (list[i]!.address.length + list[i]!.zone.length);
  return bytes;
}

/** Writes `{"hook":"pick","endpoints":[…],"request":{…}}`, the request only if `exchange` is not null. */
export function writePick(
  json: JsonWriter,
  exchange: ExchangeContext | null,
  view: EndpointList,
  hidden: HiddenNames | null,
): void {
  json.raw('{"hook":"pick","endpoints":[');
  writeEndpoints(json, view);
  if (exchange === null) return json.raw("]}");
  json.raw('],"request":{');
  writeRequestMembers(json, exchange, hidden);
  json.raw("}}");
}

/** Writes `{"hook":"on_update","endpoints":[…]}`. */
export function writeUpdate(json: JsonWriter, view: EndpointList): void {
  json.raw('{"hook":"on_update","endpoints":[');
  writeEndpoints(json, view);
  json.raw("]}");
}

function writeEndpoints(json: JsonWriter, view: EndpointList): void {
  for (let index = 0; index < view.count; index++) {
    const { address, zone } = view.list[index]!;
    json.raw(index === 0 ? '{"address":' : ',{"address":');
    json.text(address);
    json.member(',"zone":', zone);
    json.figure(',"id":', view.value(index, COLUMN.id));
    json.figure(',"weight":', view.value(index, COLUMN.weight));
    json.figure(',"inFlight":', view.value(index, COLUMN.in_flight));
    json.figure(',"latency":', view.value(index, COLUMN.latency));
    json.figure(',"errorRate":', view.value(index, COLUMN.error_rate));
    json.raw("}");
  }
}

/** The input of a hook without a message: of a connection, a health check, a configuration, a tick. */
export function bareInput(hook: number, target: HookContext | null, config: unknown): string {
  const name = HOOK_EXPORTS[HOOKS[hook] as ExtismHook];
  switch (hook) {
    case HOOK.connection:
      return JSON.stringify({ hook: name, client: target!.clientAddress, listener: target!.listenerName });
    case HOOK.health_check:
      return JSON.stringify({ hook: name, cluster: target!.clusterName, endpoint: target!.endpoint?.address });
    case HOOK.configure:
      return `{"hook":"${name}","config":${jsonOf(config)}}`;
    default:
      return `{"hook":"${name}"}`;
  }
}
