// An Extism plugin in AssemblyScript that calls Sluice's host functions instead of reading JSON. It sets the header
// `x-count` to the number of requests of its `x-user` in this minute; above `limit` the response is 429.
//
//   npx asc quota.ts --outFile quota.wasm -O3 --use abort=quota/abort
import { Config, Memory } from "@extism/as-pdk";

// Texts are handles of blocks, numbers are passed as they are.
@external("sluice:http/1", "header_get")
declare function header_get(part: u64, name: u64, nth: u64): u64;
@external("sluice:http/1", "header_set")
declare function header_set(part: u64, name: u64, value: u64): void;
@external("sluice:http/1", "respond")
declare function respond(status: u64, body: u64): void;
@external("sluice:kv/1", "increment")
declare function increment(namespace: u64, key: u64, by: i64, milliseconds: i64): i64;
@external("sluice:metrics/1", "define")
declare function define(json: u64): u64;
@external("sluice:metrics/1", "add")
declare function add(metric: u64, by: f64): void;

const REQUEST: u64 = 0;
const MINUTE: i64 = 60_000;
let limit: i64 = 100;
let rejected: u64 = 0;

function block(text: string): u64 {
  return Memory.allocateString(text).offset;
}

export function on_configure(): i32 {
  const given = Config.get("limit");
  if (given != null) limit = I64.parseInt(given);
  rejected = define(block('{"kind":"counter","name":"quota_rejected_total","help":"Requests over their quota."}'));
  return 0;
}

export function on_request(): i32 {
  const user = header_get(REQUEST, block("x-user"), 0);
  if (user == 0) return 0;
  const count = increment(block("quota"), user, 1, MINUTE);
  if (count > limit) {
    add(rejected, 1);
    respond(429, block("over the quota\n"));
  } else header_set(REQUEST, block("x-count"), block(count.toString()));
  return 0;
}

export function abort(_message: usize, _file: usize, _line: u32, _column: u32): void {
  unreachable();
}
