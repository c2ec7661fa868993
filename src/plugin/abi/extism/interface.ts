/** Names and limits of the Extism ABI: imports, and exports that are hooks (docs/extism.md). */
import type { Hook } from "../../../abi/abi.ts";
import { TYPE } from "../../wasm/binary.ts";
import type { Signature } from "../../wasm/module-shape.ts";

/** The import module of Extism's host functions. */
export const EXTISM = "extism:host/env";

/** The exported function of each hook, `() -> i32` or `()`. */
export const HOOK_EXPORTS = {
  request_head: "on_request",
  route: "route",
  response_head: "on_response",
  request_body: "on_request_body",
  response_body: "on_response_body",
  pick: "pick",
  configure: "on_configure",
  update: "on_update",
  log: "on_log",
  connection: "on_connection",
  health_check: "on_health_check",
  tick: "on_tick",
} as const satisfies { readonly [H in Hook]?: string };
export type ExtismHook = keyof typeof HOOK_EXPORTS;
export const EXTISM_HOOKS = Object.keys(HOOK_EXPORTS) as ExtismHook[];

/** Start-up code: the first of these exports is called. */
export const START_EXPORTS = ["_initialize", "_start"] as const;
/** Starts the runtime of a Haskell module, after its start-up code: `(argc, argv)`. */
export const HASKELL_START = "hs_init";

const { i32, i64, f64 } = TYPE;
const of = (params: readonly number[], results: readonly number[]): Signature => ({ params, results });
const LOG = of([i64], []);

/** Functions of the kernel, which guests call directly. */
export const KERNEL_FUNCTIONS = {
  alloc: of([i64], [i64]),
  free: of([i64], []),
  length: of([i64], [i64]),
  length_unsafe: of([i64], [i64]),
  load_u8: of([i64], [i32]),
  load_u64: of([i64], [i64]),
  store_u8: of([i64, i32], []),
  store_u64: of([i64, i64], []),
  input_length: of([], [i64]),
  input_offset: of([], [i64]),
  input_load_u8: of([i64], [i32]),
  input_load_u64: of([i64], [i64]),
  output_set: of([i64, i64], []),
  error_set: of([i64], []),
  error_get: of([], [i64]),
} as const satisfies Record<string, Signature>;

/** Host functions. */
export const HOST_FUNCTIONS = {
  config_get: of([i64], [i64]),
  var_get: of([i64], [i64]),
  var_set: of([i64, i64], []),
  http_request: of([i64, i64], [i64]),
  http_status_code: of([], [i32]),
  http_headers: of([], [i64]),
  log_trace: LOG,
  log_debug: LOG,
  log_info: LOG,
  log_warn: LOG,
  log_error: LOG,
  get_log_level: of([], [i32]),
} as const satisfies Record<string, Signature>;

/** Sluice's own: the shared key-value store. The module is the permission, as for native plugins. */
export const KEY_VALUE = "sluice:kv/1";
export const KEY_VALUE_FUNCTIONS = {
  /** (namespace, key) -> value, or 0 */
  get: of([i64, i64], [i64]),
  /** (namespace, key, value, milliseconds to live or 0) */
  set: of([i64, i64, i64, i64], []),
  /** (namespace, key) */
  delete: of([i64, i64], []),
  /** (namespace, key, by, milliseconds to live or 0) -> sum */
  increment: of([i64, i64, i64, i64], [i64]),
} as const satisfies Record<string, Signature>;

/** Sluice's own: metrics. */
export const METRICS = "sluice:metrics/1";
export const METRICS_FUNCTIONS = {
  /** (JSON) -> metric or family */
  define: of([i64], [i64]),
  /** (family, value) -> metric */
  of: of([i64, i64], [i64]),
  /** (metric, number) */
  add: of([i64, f64], []),
  set: of([i64, f64], []),
  observe: of([i64, f64], []),
} as const satisfies Record<string, Signature>;

/** Sluice's own: the message of the hook. A plugin that imports it gets and returns no JSON in its head hooks. */
export const HTTP = "sluice:http/1";
export const HTTP_FUNCTIONS = {
  /** (ATTRIBUTE) -> value, or 0 */
  attribute: of([i64], [i64]),
  /** (ATTRIBUTE, value) */
  attribute_set: of([i64, i64], []),
  /** (HEADERS, name, index from 0) -> value, or 0 */
  header_get: of([i64, i64, i64], [i64]),
  /** (HEADERS, name, value) */
  header_set: of([i64, i64, i64], []),
  header_add: of([i64, i64, i64], []),
  /** (HEADERS, name) -> number of removed ones */
  header_remove: of([i64, i64], [i64]),
  /** (name) -> number of removed ones */
  header_own: of([i64], [i64]),
  /** (HEADERS) -> lines, or 0 */
  headers: of([i64], [i64]),
  /** (status, body) */
  respond: of([i64, i64], []),
  reject: of([], []),
  buffer_body: of([], []),
  /** (name) */
  cluster_choose: of([i64], []),
  strategy_choose: of([i64], []),
} as const satisfies Record<string, Signature>;

/** Host functions that suspend the guest. */
export const SUSPENDING: readonly string[] = ["http_request"];

/** Sluice's own functions by module. */
const OWN: { readonly [module: string]: { readonly [name: string]: Signature } } = {
  [KEY_VALUE]: KEY_VALUE_FUNCTIONS,
  [METRICS]: METRICS_FUNCTIONS,
  [HTTP]: HTTP_FUNCTIONS,
};

/** The import module of some PDKs for all host functions that are not Extism's. */
export const USER = "extism:host/user";

/** The name of one of Sluice's own functions there: `sluice_kv_get`. */
export function userName(module: string, name: string): string {
  return `${module.slice(0, module.indexOf("/")).replace(":", "_")}_${name}`;
}

/** The module of a function of `extism:host/user`; null: there is none of that name. */
export function userModule(name: string): string | null {
  return (
    Object.keys(OWN).find((module) => Object.keys(OWN[module]!).some((own) => userName(module, own) === name)) ?? null
  );
}

/** By module, except those of WASI. */
export const FUNCTIONS: { readonly [module: string]: { readonly [name: string]: Signature } } = {
  [EXTISM]: { ...KERNEL_FUNCTIONS, ...HOST_FUNCTIONS },
  ...OWN,
  [USER]: Object.fromEntries(
    Object.entries(OWN).flatMap(([module, functions]) =>
      Object.entries(functions).map(([name, signature]) => [userName(module, name), signature]),
    ),
  ),
};

/** Limits; sizes are bytes. */
export const LIMITS = {
  /** An output, including a body that is not text; body chunks have `limits.body`. */
  output: 2 * 1024 * 1024,
  /** Variables of one guest: bytes including names, and number. */
  vars: 1024 * 1024,
  varCount: 1000,
  /** The name of a variable or of a configuration value. */
  key: 1024,
  /** The text of an error. */
  error: 4096,
} as const;
