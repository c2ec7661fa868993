/** `sluice top`: the state of a running proxy, again every two seconds until it is interrupted. */
import { setTimeout } from "node:timers/promises";
import { findAdmin } from "./admin-client.ts";
import { readState } from "./status.ts";

const PERIOD = 2000;
/** Cursor to the top left, and clear what is below. */
const CLEAR = "\x1b[H\x1b[J";

/** Ends by a signal, with the reader of a pipe, or by an Error once the proxy cannot be reached. */
export async function run(args: string[]): Promise<number> {
  const admin = await findAdmin(args);
  let isRead = true;
  process.stdout.once("error", () => {
    isRead = false;
  });
  while (isRead) {
    const { text } = await readState(admin);
    process.stdout.write(process.stdout.isTTY ? `${CLEAR}${fit(text, process.stdout)}` : `${text}\n`);
    await setTimeout(PERIOD);
  }
  return 0;
}

/** Cuts the text to the size of the terminal. */
export function fit(text: string, { columns = 80, rows = 24 }: { columns?: number; rows?: number }): string {
  const lines = text.trimEnd().split("\n");
  const shown =
    lines.length > rows - 1 ? [...lines.slice(0, rows - 2), `… ${lines.length - rows + 2} more lines`] : lines;
  return shown.map((line) => `${line.slice(0, columns)}\n`).join("");
}
