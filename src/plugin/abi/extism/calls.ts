/** The host functions of Extism: configuration, variables, logs. Handles are offsets of blocks in the kernel's memory. */
import type { LEVEL } from "../../../abi/abi.ts";
import { WORK } from "../../../abi/prices.ts";
import { Fault } from "../../host/fault.ts";
import type { CallContext } from "../call-context.ts";
import { writeLine } from "../log-lines.ts";
import { suspending } from "../suspending.ts";
import { give } from "./blocks.ts";
import { makeHttpCalls } from "./calls-http.ts";
import { ConfigValues } from "./config-values.ts";
import { type HOST_FUNCTIONS, LIMITS } from "./interface.ts";
import type { Kernel } from "./kernel.ts";
import { Variables } from "./variables.ts";

type Calls = Record<keyof typeof HOST_FUNCTIONS, WebAssembly.ImportValue>;

/** The result of `get_log_level`: debug. The configured log level decides which lines are written. */
const DEBUG = 1;

export function makeHostCalls(context: CallContext, kernel: Kernel, suspends: boolean): Calls {
  const { memory } = context;
  const config = new ConfigValues();
  const variables = new Variables();
  const http = makeHttpCalls(context, kernel);
  const log = (call: string, level: keyof typeof LEVEL) => (handle: bigint) => {
    context.enter(call, 0);
    const length = kernel.size(call, handle);
    context.spend(length);
    writeLine(context, level, Number(handle), length);
    context.leave(0);
  };
  /** Reads a key; null: longer than any key can be. */
  const keyOf = (call: string, handle: bigint): string | null => {
    const length = kernel.size(call, handle);
    context.spend(length);
    return length > LIMITS.key ? null : memory.takeUtf8(Number(handle), length);
  };
  return {
    config_get(handle: bigint): bigint {
      context.enter("config_get", 0);
      const length = kernel.size("config_get", handle);
      context.spend(length);
      const at = Number(handle);
      const isKey = length <= LIMITS.key;
      const value = isKey ? config.get(context.configuration?.config, memory.bytes, at, at + length) : null;
      return give(context, kernel, "config_get", value);
    },

    var_get(handle: bigint): bigint {
      context.enter("var_get", 0);
      const key = keyOf("var_get", handle);
      return give(context, kernel, "var_get", key === null ? null : variables.get(key));
    },

    var_set(handle: bigint, value: bigint): void {
      context.enter("var_set", 0);
      const key = keyOf("var_set", handle);
      if (value === 0n) {
        if (key !== null) variables.delete(key);
      } else {
        const length = kernel.size("var_set", value);
        context.spend(WORK.keptByte * length);
        if (key === null || !variables.fits(key, length))
          throw new Fault("memory", `var_set: the variables are over ${LIMITS.vars} bytes or ${LIMITS.varCount} names`);
        variables.set(key, memory.take(Number(value), length));
      }
      context.leave(0);
    },

    http_request: suspends ? suspending(http.request) : http.request,
    http_status_code: http.statusCode,
    http_headers: http.headers,

    log_trace: log("log_trace", "debug"),
    log_debug: log("log_debug", "debug"),
    log_info: log("log_info", "info"),
    log_warn: log("log_warn", "warn"),
    log_error: log("log_error", "error"),
    get_log_level: () => DEBUG,
  };
}
