import { STATUS } from "./abi";

/** Throws an Error for a negative status, with the operation and its argument. */
export function check(status: i32, what: string, detail: string): void {
  if (status < 0) fail(status, what, detail);
}

/** As `check`, for a number, which is formatted only for the error. */
export function checkNumber<T>(status: i32, what: string, value: T): void {
  if (status < 0) fail(status, what, value.toString());
}

function fail(status: i32, what: string, detail: string): void {
  let why = "the host returned " + status.toString();
  if (status == STATUS.absent) why = "it is unknown";
  else if (status == STATUS.notHere) why = "not in this hook";
  else if (status == STATUS.invalid) why = "the value is not allowed";
  else if (status == STATUS.tooLarge) why = "over the limit";
  else if (status == STATUS.busy) why = "locked by another worker";
  else if (status == STATUS.denied) why = "the plugin's configuration does not allow it";
  throw new Error(`${what} "${detail}": ${why}`);
}
