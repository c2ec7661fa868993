/** Reads attributes of the context of a hook, for every ABI: texts, written to the guest's memory. */
import { threadId } from "node:worker_threads";
import { ATTRIBUTE, HOOK, STATUS } from "../../abi/abi.ts";
import { PART } from "../../http/head.ts";
import { VERSION_NUMBERS } from "../../http/protocol.ts";
import { destinationOf, findSslTlv, findTlv } from "../../net/proxy-values.ts";
import type { ExchangeContext, HookContext } from "../host/hook-context.ts";
import type { CallContext } from "./call-context.ts";
import { copyBytes } from "./memory.ts";
import { upgradeOf } from "./visible-fields.ts";

const LAST_ATTRIBUTE = ATTRIBUTE.proxy_destination;

const OBSERVES = (1 << HOOK.outcome) | (1 << HOOK.log);
const AFTER_RESPONSE = OBSERVES | (1 << HOOK.response_head) | (1 << HOOK.response_body) | (1 << HOOK.response_trailers);

/** Types of TLVs. */
const TLVS = 256;

/** Exceeds all exchange numbers of a worker. */
const EXCHANGES = 2 ** 31;

/** Texts of attributes, by ATTRIBUTE; empty: absent. */
type Texts<T> = { readonly [id: number]: (target: T) => string };

/** Those that every context has. */
const TEXTS: Texts<HookContext> = {
  [ATTRIBUTE.client_address]: ({ clientAddress }) => clientAddress,
  [ATTRIBUTE.listener]: ({ listenerName }) => listenerName,
  [ATTRIBUTE.cluster]: ({ clusterName }) => clusterName,
  [ATTRIBUTE.endpoint]: ({ endpoint }) => endpoint?.address ?? "",
  [ATTRIBUTE.proxy_peer]: ({ proxied }) => (proxied === null ? "" : proxied.peer || "unix"),
  [ATTRIBUTE.proxy_destination]: ({ proxied }) => (proxied === null ? "" : destinationOf(proxied)),
  [ATTRIBUTE.exchange_id]: ({ id }) => String(threadId * EXCHANGES + id),
};

/** Those that an exchange has in every hook. */
const EXCHANGE_TEXTS: Texts<ExchangeContext> = {
  ...TEXTS,
  [ATTRIBUTE.scheme]: ({ scheme }) => scheme,
  [ATTRIBUTE.protocol]: ({ request }) => VERSION_NUMBERS[request.version]!,
  [ATTRIBUTE.route]: ({ routeName }) => routeName,
  [ATTRIBUTE.upgrade]: ({ request }) => upgradeOf(request),
  [ATTRIBUTE.tls_version]: ({ tls }) => tls?.version ?? "",
  [ATTRIBUTE.tls_server_name]: ({ tls }) => tls?.serverName ?? "",
  [ATTRIBUTE.tls_client_subject]: ({ tls }) => tls?.clientSubject ?? "",
  [ATTRIBUTE.tls_client_names]: ({ tls }) => tls?.clientNames ?? "",
  [ATTRIBUTE.tls_client_fingerprint]: ({ tls }) => tls?.clientFingerprint ?? "",
  [ATTRIBUTE.attempt]: ({ attempts }) => String(attempts),
};

/**
 * Writes an attribute to `out` if it has at most `cap` bytes; returns its length, or a STATUS. The range must be
 * checked.
 */
export function giveAttribute(context: CallContext, target: HookContext, id: number, out: number, cap: number): number {
  const { exchange } = target;
  if (id >= ATTRIBUTE.proxy_tlv && id < ATTRIBUTE.proxy_ssl_tlv + TLVS) return giveTlv(context, target, id, out, cap);
  if (exchange !== null) {
    const text = EXCHANGE_TEXTS[id];
    if (text === undefined) return giveOfExchange(context, exchange, id, out, cap);
    return giveName(context, text(exchange), out, cap);
  }
  const text = TEXTS[id];
  if (text !== undefined) return giveName(context, text(target), out, cap);
  return id >= 0 && id <= LAST_ATTRIBUTE ? STATUS.absent : STATUS.invalid;
}

function giveOfExchange(context: CallContext, exchange: ExchangeContext, id: number, out: number, cap: number): number {
  const { request } = exchange;
  const { memory } = context;
  const { hook } = context.scope;
  switch (id) {
    case ATTRIBUTE.method:
      return givePart(context, exchange, PART.method, out, cap);
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

/** Writes the value of a TLV of the PROXY protocol header, at most 16 KiB (`net/proxy-protocol.ts`). */
function giveTlv({ memory }: CallContext, { proxied }: HookContext, id: number, out: number, cap: number): number {
  if (proxied === null) return STATUS.absent;
  const isSsl = id >= ATTRIBUTE.proxy_ssl_tlv;
  const type = id - (isSsl ? ATTRIBUTE.proxy_ssl_tlv : ATTRIBUTE.proxy_tlv);
  const value = isSsl ? findSslTlv(proxied, type) : findTlv(proxied.tlvs, type);
  return value === null ? STATUS.absent : memory.give(value, 0, value.length, out, cap);
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
