/** `sluice:core/1`: attributes, the local response, exchange values, the choice of cluster and strategy. */
import { HOOK, LIMIT, STATUS } from "../../../abi/abi.ts";
import { WORK } from "../../../abi/prices.ts";
import { setAttribute } from "../attribute-edits.ts";
import { giveAttribute } from "../attribute-values.ts";
import type { CallContext } from "../call-context.ts";

/** Bytes charged for a recorded lookup in addition to the name. */
const NOTE = 128;

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
      context.scope.respond(exchange, status, memory.view(body, length));
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
      const text = enterFind(context, "cluster_find", name, length);
      return context.leave(typeof text === "number" ? text : context.configuration!.findCluster(text));
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
      const text = enterFind(context, "strategy_find", name, length);
      return context.leave(typeof text === "number" ? text : context.configuration!.findStrategy(text));
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

/** Begins the lookup of a name; returns the name, or a STATUS. */
function enterFind(context: CallContext, call: string, name: number, length: number): string | number {
  context.enter(call, length >>> 0);
  context.memory.check(name, length);
  if (context.configuration === null) return STATUS.notHere;
  if (length >>> 0 > LIMIT.configPath) return STATUS.absent;
  // Lookups during the start are recorded (`ManagedGuest.noteLookup`).
  if (context.scope.isStarting) context.charges.chargeNames(call, NOTE + (length >>> 0));
  return context.memory.takeUtf8(name, length);
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
