/** Extism plugins for tests: modules from text, and the npm package `@extism/extism` that runs the same ones. */
import { compileWat } from "../unit/plugin/kit.ts";

const IMPORTS: { readonly [name: string]: string } = {
  alloc: "(param i64) (result i64)",
  free: "(param i64)",
  length: "(param i64) (result i64)",
  length_unsafe: "(param i64) (result i64)",
  load_u8: "(param i64) (result i32)",
  load_u64: "(param i64) (result i64)",
  store_u8: "(param i64 i32)",
  store_u64: "(param i64 i64)",
  input_length: "(result i64)",
  input_offset: "(result i64)",
  input_load_u8: "(param i64) (result i32)",
  input_load_u64: "(param i64) (result i64)",
  output_set: "(param i64 i64)",
  error_set: "(param i64)",
  config_get: "(param i64) (result i64)",
  var_get: "(param i64) (result i64)",
  var_set: "(param i64 i64)",
  http_request: "(param i64 i64) (result i64)",
  http_status_code: "(result i32)",
  log_debug: "(param i64)",
  log_info: "(param i64)",
  log_warn: "(param i64)",
  log_error: "(param i64)",
};

/** Of `sluice:kv/1`: `$kv_get` and so on. */
const KEY_VALUE: { readonly [name: string]: string } = {
  get: "(param i64 i64) (result i64)",
  set: "(param i64 i64 i64 i64)",
  delete: "(param i64 i64)",
  increment: "(param i64 i64 i64 i64) (result i64)",
};

/** Of `sluice:http/1`: `$http_attribute` and so on. */
const HTTP: { readonly [name: string]: string } = {
  attribute: "(param i64) (result i64)",
  attribute_set: "(param i64 i64)",
  header_get: "(param i64 i64 i64) (result i64)",
  header_set: "(param i64 i64 i64)",
  header_add: "(param i64 i64 i64)",
  header_remove: "(param i64 i64) (result i64)",
  header_own: "(param i64) (result i64)",
  headers: "(param i64) (result i64)",
  respond: "(param i64 i64)",
  reject: "",
  buffer_body: "",
  cluster_choose: "(param i64)",
  strategy_choose: "(param i64)",
};

/** Of `sluice:metrics/1`: `$metrics_define` and so on. */
const METRICS: { readonly [name: string]: string } = {
  define: "(param i64) (result i64)",
  of: "(param i64 i64) (result i64)",
  add: "(param i64 f64)",
  set: "(param i64 f64)",
  observe: "(param i64 f64)",
};

/** Copies a text of the module's memory to a new block: `(call $text (i32.const at) (i32.const length))`. */
const TEXT = `
  (func $text (param $from i32) (param $count i32) (result i64)
    (local $to i64) (local $i i32)
    (local.set $to (call $alloc (i64.extend_i32_u (local.get $count))))
    (if (local.get $count) (then
      (loop $next
        (call $store_u8
          (i64.add (local.get $to) (i64.extend_i32_u (local.get $i)))
          (i32.load8_u (i32.add (local.get $from) (local.get $i))))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $next (i32.lt_u (local.get $i) (local.get $count))))))
    (local.get $to))
  (func $put (param $from i32) (param $count i32)
    (call $output_set (call $text (local.get $from) (local.get $count)) (i64.extend_i32_u (local.get $count))))
  (func $put_block (param $block i64)
    (call $output_set (local.get $block) (call $length (local.get $block))))`;

function userFunctions(): typeof IMPORTS {
  const named = (functions: typeof IMPORTS, prefix: string) =>
    Object.entries(functions).map(([name, type]) => [`${prefix}_${name}`, type]);
  return Object.fromEntries([...named(KEY_VALUE, "kv"), ...named(METRICS, "metrics"), ...named(HTTP, "http")]);
}

/**
 * A module with these functions of Extism as `$name`, those that the text names, a memory, `$text`, `$put` and `$put_block`.
 * `${place("text")}` in a body is the address and length of that text, as two constants.
 */
export function extismModule(body: string, texts: readonly string[] = []): Uint8Array {
  const used = `${TEXT}${body}`;
  const importsOf = (module: string, functions: typeof IMPORTS, prefix: string) =>
    Object.entries(functions)
      .filter(([name]) => new RegExp(`\\$${prefix}${name}(?![a-z_0-9])`).test(used))
      .map(([name, type]) => `(import "${module}" "${name}" (func $${prefix}${name} ${type}))`);
  const lines = [
    ...importsOf("extism:host/env", IMPORTS, ""),
    ...importsOf("sluice:kv/1", KEY_VALUE, "kv_"),
    ...importsOf("sluice:metrics/1", METRICS, "metrics_"),
    ...importsOf("sluice:http/1", HTTP, "http_"),
    // Of `extism:host/user`: `$user_kv_get` and so on.
    ...importsOf("extism:host/user", userFunctions(), "user_").map((line) => line.replace('" "', '" "sluice_')),
  ];
  const data = texts.map((text, i) => {
    const hex = Buffer.from(text, "utf8").toString("hex").replace(/../g, "\\$&");
    return `(data (i32.const ${i * 4096}) "${hex}")`;
  });
  return compileWat(`(module ${lines.join("\n")} (memory 4) ${data.join("\n")} ${TEXT} ${body})`);
}

/** Of the nth text of a module: its address and its length. */
export function place(index: number, text: string): string {
  return `(i32.const ${index * 4096}) (i32.const ${Buffer.byteLength(text)})`;
}

type Plugin = {
  call(name: string, input?: Uint8Array): Promise<{ bytes(): Uint8Array } | null>;
  close(): Promise<void>;
};
type Package = {
  createPlugin(module: ArrayBuffer, options: Record<string, unknown>): Promise<Plugin>;
};

/** The result of a call, in either host. */
export type Called = { readonly output: string | null; readonly failed: boolean; readonly logs: readonly string[] };

/** The module in the package, which is loaded here alone: it must not be needed to check types. */
export async function openOracle(module: Uint8Array, config: Record<string, string>, options = {}) {
  const name: string = "@extism/extism";
  const { createPlugin }: Package = await import(name);
  const logs: string[] = [];
  const log = (level: string) => (text: string) => void logs.push(`${level}: ${text}`);
  const logger = { debug: log("debug"), info: log("info"), warn: log("warn"), error: log("error") };
  const plugin = await createPlugin(new Uint8Array(module).buffer, { config, logger, ...options });
  return {
    async call(hook: string, input: Uint8Array): Promise<Called> {
      logs.length = 0;
      try {
        const result = await plugin.call(hook, input);
        const output = result === null ? null : Buffer.from(result.bytes()).toString("latin1");
        return { output, failed: false, logs: [...logs] };
      } catch {
        return { output: null, failed: true, logs: [...logs] };
      }
    },
    close: () => plugin.close(),
  };
}
