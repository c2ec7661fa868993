// An Extism plugin in AssemblyScript with `@extism/as-pdk`, as it would be written for any host of Extism:
// the request goes on with the header `x-tenant`, the first label of its host; without a tenant the response is 400.
//
//   npx asc tenant.ts --outFile tenant.wasm -O3 --use abort=tenant/abort
import { Config, Host, LogLevel } from "@extism/as-pdk";

/** A text member of the input, which this filter only looks for at its first place. */
function member(json: string, key: string): string {
  const start = json.indexOf(`"${key}":"`);
  if (start < 0) return "";
  const from = start + key.length + 4;
  return json.substring(from, json.indexOf('"', from));
}

export function on_request(): i32 {
  const host = member(Host.inputString(), "authority");
  const dot = host.indexOf(".");
  const tenant = dot < 0 ? "" : host.substring(0, dot);
  if (tenant == "" || tenant == "www") {
    Host.log(LogLevel.Info, `no tenant in ${host}`);
    Host.outputString('{"respond":{"status":400,"body":"no tenant in the host name\\n"}}');
    return 0;
  }
  const configured = Config.get("header");
  const header = configured == null ? "x-tenant" : configured;
  // Owned: no spelling of it that the client sends reaches the endpoint.
  Host.outputString(`{"headers":{"own":["${header}"],"set":{"${header}":"${tenant}"}}}`);
  return 0;
}

export function on_response(): i32 {
  Host.outputString('{"headers":{"remove":["server"]}}');
  return 0;
}

export function abort(_message: usize, _file: usize, _line: u32, _column: u32): void {
  unreachable();
}
