import { parseArgs } from "node:util";

export type Options = {
  /** Rows by name; empty: all. */
  readonly rows: readonly string[];
  readonly turns: number;
  /** Of each turn. */
  readonly seconds: number;
  readonly warmUp: number;
  readonly connections: number;
  /** Bytes of the body in the row `stream`. */
  readonly size: number;
  /** Reloads in the row `soak`. */
  readonly reloads: number;
  /** Only these proxies, or kinds of the row `flood`; empty: all. */
  readonly only: readonly string[];
  /** Whether to put the results into docs/benchmarks.md. */
  readonly write: boolean;
};

export const USAGE = `usage: npm run bench -- [row…] [options]
  --turns N      alternating turns (7)
  --seconds N    of each turn (3)
  --quick        3 turns of 1 s: for development, not for claims
  --only A,B     only these proxies of each row, or kinds of the row flood
  --size N       GiB of the body in the row stream (2)
  --reloads N    in the row soak (1000)
  --write        put the results into docs/benchmarks.md`;

/** @throws TypeError for an unknown option, RangeError for a number that makes no sense. */
export function readOptions(args: readonly string[]): Options {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      turns: { type: "string" },
      seconds: { type: "string" },
      quick: { type: "boolean", default: false },
      only: { type: "string", default: "" },
      size: { type: "string", default: "2" },
      reloads: { type: "string" },
      write: { type: "boolean", default: false },
    },
  });
  return {
    rows: positionals,
    turns: readNumber("--turns", values.turns ?? (values.quick ? "3" : "7")),
    seconds: readNumber("--seconds", values.seconds ?? (values.quick ? "1" : "3")),
    warmUp: values.quick ? 1 : 3,
    connections: 64,
    size: readNumber("--size", values.size) * 1024 ** 3,
    reloads: readNumber("--reloads", values.reloads ?? (values.quick ? "100" : "1000")),
    only: values.only === "" ? [] : values.only.split(","),
    write: values.write,
  };
}

function readNumber(name: string, text: string): number {
  if (!/^[1-9][0-9]{0,5}$/.test(text)) throw new RangeError(`${name} takes a whole number from 1, not "${text}"`);
  return Number(text);
}
