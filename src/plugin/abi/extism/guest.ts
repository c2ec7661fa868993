/** One guest of an Extism plugin: its kernel, its start-up code, and its hooks, which read an input and set an output. */
import { type Failure, HOOK, HOOKS, RESULT } from "../../../abi/abi.ts";
import { Fault } from "../../host/fault.ts";
import { type BodyChunk, chunkOf, type ExchangeContext } from "../../host/hook-context.ts";
import { METER } from "../../wasm/meter.ts";
import { STOPPED } from "../../wasm/meter-code.ts";
import type { GuestAbi, HookFunction, LinkedGuest, LinkedModule, SuspendableFunction } from "../abi.ts";
import type { CallContext } from "../call-context.ts";
import type { HiddenNames } from "../hidden-names.ts";
import { GuestMemory } from "../memory.ts";
import { promising } from "../suspending.ts";
import { makeWasi, ProgramEnd } from "../wasi.ts";
import { WASI } from "../wasi-names.ts";
import { makeHostCalls } from "./calls.ts";
import { makeKeyValueCalls } from "./calls-kv.ts";
import { MessageCalls } from "./calls-message.ts";
import { makeMetricCalls } from "./calls-metrics.ts";
import * as inputs from "./inputs.ts";
import {
  EXTISM,
  EXTISM_HOOKS,
  HASKELL_START,
  HOOK_EXPORTS,
  HTTP,
  KEY_VALUE,
  LIMITS,
  METRICS,
  START_EXPORTS,
  USER,
  userName,
} from "./interface.ts";
import { headRoom, JsonWriter } from "./json-writer.ts";
import { INPUT, Kernel } from "./kernel.ts";
import { HookOutputs } from "./outputs.ts";
import { payForParsing } from "./parsing-cost.ts";

export const extismGuest: GuestAbi = {
  link: (context, module) => new ExtismGuest(context, module),
};

/**
 * Cost of a hook in addition to the guest's work: units of fuel, and 64ths of a unit per byte of input (measured: 1.5
 * ns).
 */
const PRICE = { hook: 20, inputByte: 4 } as const;

/** The hooks whose message is read and changed by the calls of `sluice:http/1`. */
const MESSAGE_HOOKS =
  (1 << HOOK.request_head) |
  (1 << HOOK.route) |
  (1 << HOOK.response_head) |
  (1 << HOOK.log) |
  (1 << HOOK.connection) |
  (1 << HOOK.health_check);

type Run = (fuel: number) => number | undefined;

const notExported: HookFunction = () => {
  throw new Fault("host", "a hook was called that the module does not export");
};

/** Shared by all guests of the worker; used within one call only. */
const json = new JsonWriter();

/** The functions of Sluice's own modules by their names in `extism:host/user`. */
function userImports(own: WebAssembly.Imports): WebAssembly.ModuleImports {
  const named: WebAssembly.ModuleImports = {};
  for (const module in own)
    for (const [name, call] of Object.entries(own[module]!)) named[userName(module, name)] = call;
  return named;
}

class ExtismGuest implements LinkedGuest {
  readonly imports: WebAssembly.Imports;
  readonly hooks: HookFunction[] = HOOKS.map(() => notExported);
  readonly suspendable = new Map<number, SuspendableFunction>();
  readonly #context: CallContext;
  readonly #kernel: Kernel;
  /** The guest's own memory, if it exports one. */
  readonly #own = new GuestMemory();
  readonly #outputs = new HookOutputs();
  /** The calls of `sluice:http/1`, instead of JSON; null: not imported. */
  readonly #message: MessageCalls | null;
  #exports: WebAssembly.Exports = {};

  constructor(context: CallContext, { memory, suspends, groups }: LinkedModule) {
    this.#context = context;
    this.#kernel = new Kernel(memory, context.memory);
    this.#message = groups.includes(HTTP) ? new MessageCalls(context, this.#kernel) : null;
    const own: WebAssembly.Imports = {
      ...(groups.includes(KEY_VALUE) ? { [KEY_VALUE]: makeKeyValueCalls(context, this.#kernel) } : {}),
      ...(groups.includes(METRICS) ? { [METRICS]: makeMetricCalls(context, this.#kernel) } : {}),
      ...(this.#message === null ? {} : { [HTTP]: this.#message.imports }),
    };
    this.imports = {
      ...own,
      [EXTISM]: { ...this.#kernel.functions, ...makeHostCalls(context, this.#kernel, suspends) },
      [USER]: userImports(own),
      ...(groups.includes(WASI) ? { [WASI]: makeWasi(context, this.#own) } : {}),
    };
  }

  attach(exports: WebAssembly.Exports): void {
    this.#exports = exports;
    this.#kernel.attach(exports[METER.charge]!);
    if (exports.memory instanceof WebAssembly.Memory) this.#own.attach(exports.memory);
    for (const name of EXTISM_HOOKS) {
      const hook = HOOK[name];
      const run = exports[METER.hook + HOOK_EXPORTS[name]] as Run | undefined;
      if (run !== undefined)
        this.hooks[hook] = (_instance, _exchange, fuel) => this.#finish(hook, run(this.#prepare(hook, fuel)));
      const suspendable = exports[METER.suspendable + HOOK_EXPORTS[name]] as Run | undefined;
      if (suspendable === undefined) continue;
      const enter = promising(suspendable as (...values: number[]) => number | undefined);
      this.suspendable.set(hook, async (_instance, _exchange, fuel) =>
        this.#finish(hook, await enter(this.#prepare(hook, fuel))),
      );
    }
  }

  start(): void {
    this.#kernel.begin(0);
    const name = START_EXPORTS.find((candidate) => typeof this.#exports[candidate] === "function");
    (this.#exports[METER.start] as (() => void) | undefined)?.();
    if (name !== undefined) this.#runStart(this.#exports[name] as () => void);
    const startHaskell = this.#exports[HASKELL_START] as ((argc: number, argv: number) => void) | undefined;
    if (typeof startHaskell === "function") this.#runStart(() => startHaskell(0, 0));
    this.#checkError();
  }

  #runStart(start: () => void): void {
    try {
      start();
    } catch (error) {
      if (!(error instanceof ProgramEnd)) throw error;
      this.#context.leave(0);
    }
  }

  get memory(): number {
    return this.#own.size + this.#context.memory.size;
  }

  explain(): { readonly reason: Failure; readonly message: string } | null {
    const stopped = this.#exports[METER.stopped] as WebAssembly.Global;
    if (stopped.value !== STOPPED.suspension) return this.#kernel.explain();
    const isPossible = this.suspendable.has(this.#context.scope.hook);
    const why = isPossible ? "not allowed (allow.fetch)" : "not possible in this hook";
    return { reason: "host", message: `http_request: ${why}` };
  }

  /** Writes the input; returns the fuel that is left for the guest. @throws Fault */
  #prepare(hook: number, fuel: number): number {
    if (this.#message !== null) this.#message.result = RESULT.continue;
    const length = this.#writeInput(hook);
    this.#kernel.begin(length);
    const left = fuel - PRICE.hook - ((PRICE.inputByte * length) >>> 6);
    if (left >= 0) return left;
    this.#context.charge(this.#context.charge(0) + 1);
    throw new Fault("fuel", this.#context.fuelProblem);
  }

  #writeInput(hook: number): number {
    const { scope, hidden, configuration } = this.#context;
    const exchange = scope.exchange!;
    switch (hook) {
      case HOOK.request_body:
      case HOOK.response_body:
        return this.#writeChunk(chunkOf(hook, exchange));
      case HOOK.pick:
        this.#begin(
          inputs.requestRoom(exchange, false) + inputs.endpointsRoom(scope.view!),
          headRoom(exchange.request),
        );
        inputs.writePick(json, this.#message === null ? exchange : null, scope.view!, hidden);
        return json.at - INPUT;
      case HOOK.update:
        this.#begin(inputs.endpointsRoom(scope.view!), 0);
        inputs.writeUpdate(json, scope.view!);
        return json.at - INPUT;
      case HOOK.configure:
      case HOOK.tick:
        return this.#writeText(inputs.bareInput(hook, null, configuration!.config));
    }
    // A plugin that imports `sluice:http/1` reads the message by calls.
    if (this.#message !== null) return 0;
    if (scope.exchange === null) return this.#writeText(inputs.bareInput(hook, scope.target, null));
    this.#writeMessage(hook, exchange, hidden);
    return json.at - INPUT;
  }

  #writeMessage(hook: number, exchange: ExchangeContext, hidden: HiddenNames | null): void {
    const { request } = exchange;
    if (hook === HOOK.response_head || hook === HOOK.log) {
      this.#begin(inputs.requestRoom(exchange, true), Math.max(headRoom(request), headRoom(exchange.response)));
      if (hook === HOOK.log) inputs.writeLog(json, exchange, hidden);
      else inputs.writeResponse(json, exchange, hidden);
      return;
    }
    this.#begin(inputs.requestRoom(exchange, false), headRoom(request));
    inputs.writeRequest(json, exchange, hook === HOOK.route ? HOOK_EXPORTS.route : HOOK_EXPORTS.request_head, hidden);
  }

  #writeText(text: string): number {
    const bytes = Buffer.from(text, "utf8");
    bytes.copy(this.#roomFor(bytes.length), INPUT);
    return bytes.length;
  }

  #writeChunk(chunk: BodyChunk | null): number {
    if (chunk === null) return 0;
    const length = chunk.end - chunk.start;
    chunk.bytes.copy(this.#roomFor(length), INPUT, chunk.start, chunk.end);
    return length;
  }

  /** `room`: for the JSON, `more`: beyond it. @throws Fault */
  #begin(room: number, more: number): void {
    json.begin(this.#kernel, this.#roomFor(room + more), INPUT, room);
  }

  /** The kernel's memory with room for an input of `length` bytes. @throws Fault */
  #roomFor(length: number): Buffer {
    const { memory } = this.#context;
    const bytes = memory.refresh();
    if (bytes.length >= INPUT + 8 + length) return bytes;
    this.#kernel.reserve(length);
    return memory.refresh();
  }

  /** Applies the guest's output; returns one of RESULT, or the index that `pick` chose. @throws Fault */
  #finish(hook: number, returned: number | undefined): number {
    this.#checkError();
    if (returned !== undefined && returned !== 0) throw new Fault("bad_result", `returned ${returned}, expected 0`);
    if (hook === HOOK.request_body || hook === HOOK.response_body) return this.#replaceChunk(hook);
    if (this.#message !== null && ((MESSAGE_HOOKS >>> hook) & 1) === 1) {
      if (this.#kernel.output !== 0)
        throw new Fault("bad_result", `an output was set, but a plugin that imports ${HTTP} has none in this hook`);
      return this.#resultOf(this.#message);
    }
    const length = this.#kernel.outputLength;
    if (length === 0) return hook === HOOK.pick ? -1 : RESULT.continue;
    if (length > LIMITS.output)
      throw new Fault("bad_result", `the output is ${length} bytes, expected at most ${LIMITS.output}`);
    const context = this.#context;
    const bytes = context.memory.refresh();
    const { output } = this.#kernel;
    payForParsing(context, bytes, output, output + length);
    return this.#outputs.apply(context, hook, bytes, output, output + length);
  }

  /** The result requested by calls of `sluice:http/1`. The host checks that it matches `respond`. */
  #resultOf({ result }: MessageCalls): number {
    return result === RESULT.continue && this.#context.scope.responded ? RESULT.respond : result;
  }

  /** The error that the guest has set. @throws Fault */
  #checkError(): void {
    const { error } = this.#kernel;
    if (error === 0) return;
    const length = Math.min(this.#kernel.size("error_set", BigInt(error)), LIMITS.error);
    throw new Fault("abort", this.#context.memory.takeUtf8(error, length));
  }

  #replaceChunk(hook: number): number {
    const context = this.#context;
    const { exchange } = context.scope;
    const chunk = chunkOf(hook, exchange);
    const { output, outputLength } = this.#kernel;
    const result = this.#message === null ? RESULT.continue : this.#resultOf(this.#message);
    if (output === 0 || chunk === null) return result;
    const most = Math.max(context.configuration!.bodyLimit, chunk.end - chunk.start);
    if (outputLength > most)
      throw new Fault("bad_result", `the output is ${outputLength} bytes, expected at most ${most} (limits.body)`);
    chunk.replace(context.memory.take(output, outputLength));
    return result;
  }
}
