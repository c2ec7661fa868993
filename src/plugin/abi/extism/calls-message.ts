/**
 * `sluice:http/1` for Extism plugins: the message of the hook by host calls instead of JSON. A rejected call fails the hook,
 * and with it all changes of the hook call are undone.
 */

import { HEADERS, RESULT, STATUS } from "../../../abi/abi.ts";
import { WORK } from "../../../abi/prices.ts";
import { toLower } from "../../../http/bytes.ts";
import { FIELD_WORDS, type Head, NAME_END, NAME_START, VALUE_END, VALUE_START } from "../../../http/head.ts";
import { Fault } from "../../host/fault.ts";
import { setAttribute } from "../attribute-edits.ts";
import { giveAttribute } from "../attribute-values.ts";
import type { CallContext } from "../call-context.ts";
import { findField, isHidden, ownHeader, removeHeader, setHeader } from "../head-edits.ts";
import type { HiddenNames } from "../hidden-names.ts";
import { copyBytes } from "../memory.ts";
import { isVisible } from "../visible-fields.ts";
import { give } from "./blocks.ts";
import type { HTTP_FUNCTIONS } from "./interface.ts";
import type { Kernel } from "./kernel.ts";
import { chooseCluster, chooseStrategy, refuse, sendLocal } from "./outputs.ts";

type Calls = Record<keyof typeof HTTP_FUNCTIONS, WebAssembly.ImportValue>;

/** Bytes allocated for an attribute before its length is known. */
const USUAL = 64;
const COLON = 58;
const SPACE = 32;
const LINE_END = 10;

export class MessageCalls {
  readonly imports: Calls;
  /** The result requested by `reject` or `buffer_body`: one of RESULT. */
  result: number = RESULT.continue;

  constructor(context: CallContext, kernel: Kernel) {
    this.imports = {
      ...makeAttributeCalls(context, kernel),
      ...makeHeaderCalls(context, kernel),
      ...makeChoiceCalls(context, kernel),
      reject: () => this.#set(context, "reject", RESULT.reject),
      buffer_body: () => this.#set(context, "buffer_body", RESULT.buffer),
    };
  }

  #set(context: CallContext, call: string, result: number): void {
    context.enter(call, 0);
    if (this.result !== RESULT.continue && this.result !== result)
      throw new Fault("bad_result", "both reject and buffer_body were called, expected one");
    this.result = result;
    context.leave(0);
  }
}

function makeAttributeCalls(context: CallContext, kernel: Kernel) {
  const { memory } = context;
  return {
    attribute(id: bigint): bigint {
      context.enter("attribute", 0);
      const { target } = context.scope;
      if (target === null) refuseAttribute("attribute", id, STATUS.notHere);
      let at = kernel.allocate("attribute", USUAL);
      memory.refresh();
      let length = giveAttribute(context, target, Number(id), at, USUAL);
      if (length > USUAL) {
        kernel.resize(at, 0);
        at = kernel.allocate("attribute", length);
        memory.refresh();
        length = giveAttribute(context, target, Number(id), at, length);
      }
      kernel.resize(at, Math.max(0, length));
      if (length < 0 && length !== STATUS.absent) refuseAttribute("attribute", id, length);
      context.spend(Math.max(0, length));
      context.leave(0);
      return length > 0 ? BigInt(at) : 0n;
    },

    attribute_set(id: bigint, value: bigint): void {
      context.enter("attribute_set", 0);
      const length = kernel.size("attribute_set", value);
      context.spend(length * WORK.targetByte);
      const at = Number(value);
      const status = setAttribute(context, Number(id), memory.bytes, at, at + length);
      if (status !== STATUS.ok) refuseAttribute("attribute_set", id, status);
      context.leave(0);
    },
  };
}

function makeHeaderCalls(context: CallContext, kernel: Kernel) {
  const { memory } = context;
  const set = (call: string, replaces: boolean) => (part: bigint, name: bigint, value: bigint) => {
    context.enter(call, 0);
    const nameLength = kernel.size(call, name);
    const valueLength = kernel.size(call, value);
    context.spend(nameLength + valueLength);
    const [nameAt, valueAt] = [Number(name), Number(value)];
    const [nameEnd, valueEnd] = [nameAt + nameLength, valueAt + valueLength];
    const { bytes } = memory;
    const status = setHeader(context, Number(part), bytes, nameAt, nameEnd, valueAt, valueEnd, replaces);
    if (status !== STATUS.ok) refuse(call, bytes.toString("latin1", nameAt, nameEnd), status);
    context.leave(0);
  };
  return {
    header_get(part: bigint, name: bigint, nth: bigint): bigint {
      context.enter("header_get", 0);
      const length = kernel.size("header_get", name);
      const head = readable(context, "header_get", part);
      if (head === null) return give(context, kernel, "header_get", null);
      const { bytes } = memory;
      const start = Number(name);
      const isAbsent = nth < 0n || isHidden(context, bytes, start, start + length);
      const index = isAbsent ? -1 : findField(context, head, bytes, start, start + length, Number(nth));
      if (index < 0 || !isVisible(head, index, null)) return give(context, kernel, "header_get", null);
      const at = index * FIELD_WORDS;
      const value = head.bytes.subarray(head.fields[at + VALUE_START]!, head.fields[at + VALUE_END]!);
      return give(context, kernel, "header_get", value);
    },

    header_set: set("header_set", true),
    header_add: set("header_add", false),

    header_remove(part: bigint, name: bigint): bigint {
      context.enter("header_remove", 0);
      const length = kernel.size("header_remove", name);
      context.spend(length);
      const at = Number(name);
      const removed = removeHeader(context, Number(part), memory.bytes, at, at + length);
      if (removed < 0) refuse("header_remove", memory.bytes.toString("latin1", at, at + length), removed);
      return BigInt(context.leave(removed));
    },

    header_own(name: bigint): bigint {
      context.enter("header_own", 0);
      const length = kernel.size("header_own", name);
      context.spend(length);
      const at = Number(name);
      const removed = ownHeader(context, memory.bytes, at, at + length);
      if (removed < 0) refuse("header_own", memory.bytes.toString("latin1", at, at + length), removed);
      return BigInt(context.leave(removed));
    },

    headers(part: bigint): bigint {
      context.enter("headers", 0);
      const head = readable(context, "headers", part);
      if (head === null) return give(context, kernel, "headers", null);
      const { hidden } = context;
      const length = writeLines(head, hidden, null, 0);
      context.spend(length + WORK.givenField * head.count);
      if (length === 0) return give(context, kernel, "headers", null);
      const at = kernel.allocate("headers", length);
      writeLines(head, hidden, memory.refresh(), at);
      context.leave(0);
      return BigInt(at);
    },
  };
}

function makeChoiceCalls(context: CallContext, kernel: Kernel) {
  const { memory } = context;
  const choose = (call: string, apply: (context: CallContext, name: string) => void) => (name: bigint) => {
    context.enter(call, 0);
    const length = kernel.size(call, name);
    context.spend(length);
    apply(context, memory.takeUtf8(Number(name), length));
    context.leave(0);
  };
  return {
    cluster_choose: choose("cluster_choose", chooseCluster),
    strategy_choose: choose("strategy_choose", chooseStrategy),

    respond(status: bigint, body: bigint): void {
      context.enter("respond", 0);
      const length = kernel.size("respond", body);
      context.spend(length);
      const code = Number(status);
      if (!(code >= 200 && code <= 599))
        throw new Fault("bad_result", `respond: the status ${status}, expected a number from 200 to 599`);
      sendLocal(context, code, memory.take(Number(body), length));
      context.leave(0);
    },
  };
}

function refuseAttribute(call: string, id: bigint, status: number): never {
  const unknown = call === "attribute" ? "is unknown" : "is unknown, or has another form";
  throw new Fault("bad_result", `${call}: ${id} ${ATTRIBUTE_PROBLEMS[status] ?? unknown}`);
}

const ATTRIBUTE_PROBLEMS: Readonly<Record<number, string>> = {
  [STATUS.notHere]: "is not available in this hook",
  [STATUS.denied]: "cannot be changed",
  [STATUS.tooLarge]: "is over a limit",
};

/**
 * The headers of a part; null for trailers that are absent or not received yet. @throws Fault if they cannot be read
 * here
 */
function readable(context: CallContext, call: string, part: bigint): Head | null {
  const number = Number(part);
  const head = context.scope.readable(number);
  if (head !== null || number === HEADERS.requestTrailers || number === HEADERS.responseTrailers) return head;
  const why = number === HEADERS.response ? "is not available in this hook" : "is unknown";
  throw new Fault("bad_result", `${call}: part ${part} ${why}`);
}

/**
 * Writes `name: value` lines of the visible fields, names in lower case; returns their length. `target`: null to only
 * count.
 */
function writeLines(head: Head, hidden: HiddenNames | null, target: Buffer | null, at: number): number {
  const { fields, bytes } = head;
  let end = at;
  for (let index = 0; index < head.count; index++) {
    if (!isVisible(head, index, hidden)) continue;
    const from = index * FIELD_WORDS;
    const [start, nameEnd] = [fields[from + NAME_START]!, fields[from + NAME_END]!];
    const [valueStart, valueEnd] = [fields[from + VALUE_START]!, fields[from + VALUE_END]!];
    const length = nameEnd - start;
    if (target !== null) {
      for (let i = 0; i < length; i++) target[end + i] = toLower(bytes[start + i]!);
      target[end + length] = COLON;
      target[end + length + 1] = SPACE;
      copyBytes(target, end + length + 2, bytes, valueStart, valueEnd);
      target[end + length + 2 + valueEnd - valueStart] = LINE_END;
    }
    end += length + 3 + valueEnd - valueStart;
  }
  return end - at;
}
