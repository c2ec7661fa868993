/** WASI preview 1 as modules import it: its functions and their types. Implemented in `wasi.ts`. */
import { TYPE } from "../wasm/binary.ts";
import type { Signature } from "../wasm/module-shape.ts";

export const WASI = "wasi_snapshot_preview1";

/** The functions by their parameters: i for i32, I for i64. Each returns an i32, its error number, but `proc_exit`. */
const FUNCTIONS: Readonly<Record<string, string>> = {
  "": "sched_yield",
  i: "fd_close fd_datasync fd_sync proc_exit proc_raise",
  ii: "args_get args_sizes_get clock_res_get environ_get environ_sizes_get fd_fdstat_get fd_fdstat_set_flags fd_filestat_get fd_prestat_get fd_renumber fd_tell random_get sock_shutdown",
  iii: "fd_prestat_dir_name path_create_directory path_remove_directory path_unlink_file sock_accept",
  iiii: "fd_read fd_write poll_oneoff",
  iiiii: "path_filestat_get path_symlink sock_send",
  iiiiii: "path_readlink path_rename sock_recv",
  iiiiiii: "path_link",
  iI: "fd_filestat_set_size",
  iII: "fd_allocate fd_fdstat_set_rights",
  iIi: "clock_time_get",
  iIii: "fd_seek",
  iIIi: "fd_advise fd_filestat_set_times",
  iiiIi: "fd_pread fd_pwrite fd_readdir",
  iiiiIIi: "path_filestat_set_times",
  iiiiiIIii: "path_open",
};

const PARAMS = new Map(
  Object.entries(FUNCTIONS).flatMap(([params, names]) => names.split(" ").map((name) => [name, params] as const)),
);
export const WASI_NAMES: readonly string[] = [...PARAMS.keys()];

/** The type of a function of WASI; null: there is no such function. */
export function wasiSignature(name: string): Signature | null {
  const given = PARAMS.get(name);
  if (given === undefined) return null;
  const params = Array.from(given, (type) => (type === "i" ? TYPE.i32 : TYPE.i64));
  return { params, results: name === "proc_exit" ? [] : [TYPE.i32] };
}
