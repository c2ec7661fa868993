/** `sluice:core/1`: attributes, the local response, exchange values, the choice of cluster and strategy. */
import { threadId } from "node:worker_threads";
import { ATTRIBUTE, HOOK, LIMIT, STATUS } from "../../../abi/abi.ts";
import { WORK } from "../../../abi/prices.ts";
import { PART } from "../../../http/head.ts";
import { VERSION_NUMBERS } from "../../../http/protocol.ts";
import type { ExchangeContext, HookContext } from "../../host/hook-context.ts";
import { setAttribute } from "../attribute-edits.ts";
import { CALL_MEMORY } from "../call-charges.ts";
import type { CallContext } from "../call-context.ts";
import { copyBytes } from "../memory.ts";
import { upgradeOf } from "../visible-fields.ts";

/** Bytes charged for a recorded lookup in addition to the name. */
const NOTE = 128;

const LAST_ATTRIBUTE = ATTRIBUTE.tls_client_fingerprint;

const OBSERVES = (1 << HOOK.outcome) | (1 << HOOK.log);
const AFTER_RESPONSE = OBSERVES | (1 << HOOK.response_head) | (1 << HOOK.response_body) | (1 << HOOK.response_trailers);

export function makeExchangeCalls(context: CallContext) {
  const { memory } = context;
  return {
    attribute(id: number, out: number, cap: number): number {
      context.enter("attribute", 0);
      memory.check(out, cap);
      const { target } = context.scope;
      if (target === null) return context.leave(STATUS.notHere);
      const length = giveAttribute(context, target, id, out, cap);
      if (length > 0) context.spend(length);
      return context.leave(length);
    },

    attribute_set(id: number, pointer: number, length: number): number {
      context.enter("attribute_set", length >>> 0);
      const start = memory.check(pointer, length);
      // Validation and normalisation take time per byte.
      context.spend((length >>> 0) * WORK.targetByte);
      return context.leave(setAttribute(context, id, memory.bytes, start, start + (length >>> 0)));
    },

    respond(status: number, body: number, length: number): number {
      context.enter("respond", length >>> 0);
      memory.check(body, length);
      if (status < 200 || status > 599) return context.leave(STATUS.invalid);
      if (length >>> 0 > LIMIT.responseBody) return context.leave(STATUS.tooLarge);
      const exchange = context.scope.responding();
      if (exchange === null) return context.leave(STATUS.notHere);
      context.charges.keepBody("respond", length >>> 0);
      context.spend(WORK.keptByte * (length >>> 0));
      context.scope.respond(exchange, status, memory.take(body, length));
      return context.leave(STATUS.ok);
    },

    exchange_get(key: number, keyLength: number, out: number, cap: number): number {
      context.enter("exchange_get", keyLength >>> 0);
      return context.leave(giveValue(context, valueName(context, key, keyLength), out, cap));
    },

    exchange_set(key: number, keyLength: number, value: number, length: number): number {
      context.enter("exchange_set", (keyLength >>> 0) + (length >>> 0));
      return context.leave(keepValue(context, "exchange_set", valueName(context, key, keyLength), value, length));
    },

    shared_get(name: number, nameLength: number, out: number, cap: number): number {
      context.enter("shared_get", nameLength >>> 0);
      return context.leave(giveValue(context, sharedName(context, name, nameLength), out, cap));
    },

    shared_set(name: number, nameLength: number, value: number, length: number): number {
      context.enter("shared_set", (nameLength >>> 0) + (length >>> 0));
      const key = sharedName(context, name, nameLength);
      memory.check(value, length);
      if (key !== null && !context.configuration!.mayShare(key.slice(1))) return context.leave(STATUS.denied);
      return context.leave(keepValue(context, "shared_set", key, value, length));
    },

    cluster_find(name: number, length: number): number {
      context.enter("cluster_find", length >>> 0);
      memory.check(name, length);
      if (context.configuration === null) return context.leave(STATUS.notHere);
      if (length >>> 0 > LIMIT.configPath) return context.leave(STATUS.absent);
      // Lookups during the start are recorded (`ManagedGuest.noteLookup`).
      if (context.scope.isStarting)
        context.charges.chargeMore("cluster_find", CALL_MEMORY.names, NOTE + (length >>> 0));
      return context.leave(context.configuration.findCluster(memory.takeUtf8(name, length)));
    },

    cluster_choose(id: number): number {
      context.enter("cluster_choose", 0);
      const target = context.scope.choosingCluster();
      if (target === null) return context.leave(STATUS.notHere);
      const index = context.configuration!.clusterIndex(id);
      if (index >= 0) target.chosenCluster = index;
      return context.leave(index >= 0 ? STATUS.ok : index);
    },

    strategy_find(name: number, length: number): number {
      context.enter("strategy_find", length >>> 0);
      memory.check(name, length);
      if (context.configuration === null) return context.leave(STATUS.notHere);
      if (length >>> 0 > LIMIT.configPath) return context.leave(STATUS.absent);
      if (context.scope.isStarting)
        context.charges.chargeMore("strategy_find", CALL_MEMORY.names, NOTE + (length >>> 0));
      return context.leave(context.configuration.findStrategy(memory.takeUtf8(name, length)));
    },

    strategy_choose(id: number): number {
      context.enter("strategy_choose", 0);
      const exchange = context.scope.choosing();
      if (exchange === null) return context.leave(STATUS.notHere);
      const index = context.configuration!.strategyIndex(id);
      if (index >= 0) exchange.chosenStrategy = index;
      return context.leave(index >= 0 ? STATUS.ok : index);
    },
  };
}

/** The map key of an exchange value, private to the plugin; null if the key is too long. */
function valueName(context: CallContext, key: number, length: number): string | null {
  const start = context.memory.check(key, length);
  const { configuration } = context;
  if (length >>> 0 > LIMIT.exchangeKey || configuration === null) return null;
  return `${configuration.plugin}\0${context.memory.bytes.toString("latin1", start, start + length)}`;
}

/** The map key of a shared value, different from those of every plugin (names are not empty); null if it is too long. */
function sharedName(context: CallContext, name: number, length: number): string | null {
  const start = context.memory.check(name, length);
  if (length >>> 0 > LIMIT.exchangeKey || context.configuration === null) return null;
  return `\0${context.memory.bytes.toString("latin1", start, start + length)}`;
}

function giveValue(context: CallContext, name: string | null, out: number, cap: number): number {
  const { memory } = context;
  const { target } = context.scope;
  memory.check(out, cap);
  const bytes = name === null ? undefined : target?.values?.get(name)?.bytes;
  if (bytes === undefined) return target === null ? STATUS.notHere : STATUS.absent;
  context.spend(bytes.length);
  return memory.give(bytes as Buffer, 0, bytes.length, out, cap);
}

function keepValue(context: CallContext, call: string, name: string | null, value: number, length: number): number {
  const { memory } = context;
  const { target } = context.scope;
  const start = memory.check(value, length);
  // Connections have no values.
  if (target === null || context.scope.hook === HOOK.connection) return STATUS.notHere;
  if (name === null || length >>> 0 > LIMIT.exchangeValue) return STATUS.tooLarge;
  const values = (target.values ??= new Map());
  if (!values.has(name) && values.size >= LIMIT.exchangeValues) return STATUS.tooLarge;
  context.spend(WORK.keptByte * (length >>> 0));
  context.scope.keep(values, name, memory.bytes.subarray(start, start + (length >>> 0)), call);
  return STATUS.ok;
}

/** Exceeds all exchange numbers of a worker. */
const EXCHANGES = 2 ** 31;

function giveAttribute(context: CallContext, target: HookContext, id: number, out: number, cap: number): number {
  const { exchange } = target;
  if (exchange !== null) return giveOfExchange(context, exchange, id, out, cap);
  return id >= 0 && id <= LAST_ATTRIBUTE ? giveOfAny(context, target, id, out, cap) : STATUS.invalid;
}

/** Attributes that every context has. */
function giveOfAny(context: CallContext, target: HookContext, id: number, out: number, cap: number): number {
  switch (id) {
    case ATTRIBUTE.client_address:
      return giveName(context, target.clientAddress, out, cap);
    case ATTRIBUTE.listener:
      return giveName(context, target.listenerName, out, cap);
    case ATTRIBUTE.cluster:
      return giveName(context, target.clusterName, out, cap);
    case ATTRIBUTE.endpoint:
      return giveName(context, target.endpoint?.address ?? "", out, cap);
    case ATTRIBUTE.exchange_id:
      return context.memory.giveText(String(threadId * EXCHANGES + target.id), out, cap);
    default:
      return STATUS.absent;
  }
}

function giveOfExchange(context: CallContext, exchange: ExchangeContext, id: number, out: number, cap: number): number {
  const { request } = exchange;
  const { memory } = context;
  const { hook } = context.scope;
  switch (id) {
    case ATTRIBUTE.method:
      return givePart(context, exchange, PART.method, out, cap);
    case ATTRIBUTE.scheme:
      return memory.giveText(exchange.scheme, out, cap);
    case ATTRIBUTE.authority:
      return givePart(context, exchange, PART.authority, out, cap);
    case ATTRIBUTE.path:
      return givePart(context, exchange, PART.path, out, cap);
    case ATTRIBUTE.query:
      return givePart(context, exchange, PART.query, out, cap);
    case ATTRIBUTE.target:
      return giveTarget(context, request.bytes, request.parts, out, cap);
    case ATTRIBUTE.original_method:
      return giveOriginal(context, exchange, PART.method, out, cap);
    case ATTRIBUTE.original_authority:
      return giveOriginal(context, exchange, PART.authority, out, cap);
    case ATTRIBUTE.original_target:
      return giveTarget(context, request.bytes, exchange.original, out, cap);
    case ATTRIBUTE.status: {
      if (((AFTER_RESPONSE >>> hook) & 1) === 0 && !context.scope.responded) return STATUS.absent;
      const status = exchange.localStatus !== 0 ? exchange.localStatus : exchange.response.status;
      return status === 0 ? STATUS.absent : memory.giveText(String(status), out, cap);
    }
    case ATTRIBUTE.error:
      if (((AFTER_RESPONSE >>> hook) & 1) === 0) return STATUS.absent;
      return giveName(context, exchange.error === null ? "" : exchange.error.code, out, cap);
    case ATTRIBUTE.upstream_duration:
      if (((AFTER_RESPONSE >>> hook) & 1) === 0 || exchange.attempt.latency === 0) return STATUS.absent;
      return memory.giveText(String(Math.round(exchange.attempt.latency)), out, cap);
    case ATTRIBUTE.client_address:
    case ATTRIBUTE.listener:
    case ATTRIBUTE.cluster:
    case ATTRIBUTE.endpoint:
    case ATTRIBUTE.exchange_id:
      return giveOfAny(context, exchange, id, out, cap);
    case ATTRIBUTE.protocol:
      return memory.giveText(VERSION_NUMBERS[request.version]!, out, cap);
    case ATTRIBUTE.route:
      return giveName(context, exchange.routeName, out, cap);
    case ATTRIBUTE.upgrade:
      return giveName(context, upgradeOf(request), out, cap);
    case ATTRIBUTE.tls_version:
      return giveName(context, exchange.tls?.version ?? "", out, cap);
    case ATTRIBUTE.tls_server_name:
      return giveName(context, exchange.tls?.serverName ?? "", out, cap);
    case ATTRIBUTE.tls_client_subject:
      return giveName(context, exchange.tls?.clientSubject ?? "", out, cap);
    case ATTRIBUTE.tls_client_names:
      return giveName(context, exchange.tls?.clientNames ?? "", out, cap);
    case ATTRIBUTE.tls_client_fingerprint:
      return giveName(context, exchange.tls?.clientFingerprint ?? "", out, cap);
    case ATTRIBUTE.attempt:
      return memory.giveText(String(exchange.attempts), out, cap);
    default:
      return giveObserved(context, exchange, id, out, cap);
  }
}

/** Attributes that are available in `log` and `outcome` only. */
function giveObserved(context: CallContext, exchange: ExchangeContext, id: number, out: number, cap: number): number {
  const { memory } = context;
  const { hook } = context.scope;
  if (id !== ATTRIBUTE.duration && id !== ATTRIBUTE.bytes_sent && id !== ATTRIBUTE.bytes_received)
    return STATUS.invalid;
  if (((OBSERVES >>> hook) & 1) === 0 || (hook === HOOK.outcome && id !== ATTRIBUTE.duration)) return STATUS.notHere;
  if (id === ATTRIBUTE.bytes_sent) return memory.giveText(String(exchange.bytesSent), out, cap);
  if (id === ATTRIBUTE.bytes_received) return memory.giveText(String(exchange.bytesReceived), out, cap);
  const elapsed = Math.max(0, Math.round((performance.now() - exchange.startedAt) * 1000));
  return memory.giveText(String(elapsed), out, cap);
}

function givePart(context: CallContext, { request }: ExchangeContext, part: number, out: number, cap: number): number {
  const start = request.parts[part]!;
  const end = request.parts[part + 1]!;
  return start === end ? STATUS.absent : context.memory.give(request.bytes, start, end, out, cap);
}

/** Writes a name or an address; absent if it is empty. */
function giveName(context: CallContext, text: string, out: number, cap: number): number {
  if (text === "") return STATUS.absent;
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) > 127) return context.memory.giveUtf8(text, out, cap);
  return context.memory.giveText(text, out, cap);
}

const QUERY = 63;

/** Writes a part of the start line as received. */
function giveOriginal(context: CallContext, x: ExchangeContext, part: number, out: number, cap: number): number {
  const start = x.original[part]!;
  const end = x.original[part + 1]!;
  return start === end ? STATUS.absent : context.memory.give(x.request.bytes, start, end, out, cap);
}

function giveTarget({ memory }: CallContext, bytes: Buffer, parts: Uint32Array, out: number, cap: number): number {
  const path = parts[PART.path + 1]! - parts[PART.path]!;
  const query = parts[PART.query + 1]! - parts[PART.query]!;
  const length = path + (query === 0 ? 0 : 1 + query);
  if (length > cap >>> 0) return length;
  const at = out >>> 0;
  copyBytes(memory.bytes, at, bytes, parts[PART.path]!, parts[PART.path + 1]!);
  if (query === 0) return length;
  memory.bytes[at + path] = QUERY;
  copyBytes(memory.bytes, at + path + 1, bytes, parts[PART.query]!, parts[PART.query + 1]!);
  return length;
}
