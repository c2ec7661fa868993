/** WASI preview 1 as modules import it: its functions and their types. Implemented in `wasi.ts`. */
import { TYPE } from "../wasm/binary.ts";
import type { Signature } from "../wasm/module-shape.ts";

export const WASI = "wasi_snapshot_preview1";

/** Parameters by function: i for i32, I for i64. Each returns an i32, its error number; `proc_exit` does not return. */
const PARAMS = {
  args_get: "ii",
  args_sizes_get: "ii",
  clock_res_get: "ii",
  clock_time_get: "iIi",
  environ_get: "ii",
  environ_sizes_get: "ii",
  fd_advise: "iIIi",
  fd_allocate: "iII",
  fd_close: "i",
  fd_datasync: "i",
  fd_fdstat_get: "ii",
  fd_fdstat_set_flags: "ii",
  fd_fdstat_set_rights: "iII",
  fd_filestat_get: "ii",
  fd_filestat_set_size: "iI",
  fd_filestat_set_times: "iIIi",
  fd_pread: "iiiIi",
  fd_prestat_dir_name: "iii",
  fd_prestat_get: "ii",
  fd_pwrite: "iiiIi",
  fd_read: "iiii",
  fd_readdir: "iiiIi",
  fd_renumber: "ii",
  fd_seek: "iIii",
  fd_sync: "i",
  fd_tell: "ii",
  fd_write: "iiii",
  path_create_directory: "iii",
  path_filestat_get: "iiiii",
  path_filestat_set_times: "iiiiIIi",
  path_link: "iiiiiii",
  path_open: "iiiiiIIii",
  path_readlink: "iiiiii",
  path_remove_directory: "iii",
  path_rename: "iiiiii",
  path_symlink: "iiiii",
  path_unlink_file: "iii",
  poll_oneoff: "iiii",
  proc_exit: "i",
  proc_raise: "i",
  random_get: "ii",
  sched_yield: "",
  sock_accept: "iii",
  sock_recv: "iiiiii",
  sock_send: "iiiii",
  sock_shutdown: "ii",
} as const;

export type WasiName = keyof typeof PARAMS;
export const WASI_NAMES = Object.keys(PARAMS) as WasiName[];

/** The type of a function of WASI; null: there is no such function. */
export function wasiSignature(name: string): Signature | null {
  if (!Object.hasOwn(PARAMS, name)) return null;
  const params = Array.from(PARAMS[name as WasiName], (type) => (type === "i" ? TYPE.i32 : TYPE.i64));
  return { params, results: name === "proc_exit" ? [] : [TYPE.i32] };
}
