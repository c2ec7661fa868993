/** JavaScript Promise Integration (JSPI), which TypeScript's types do not include. */
const jspi = WebAssembly as unknown as {
  Suspending: new (run: (...values: never[]) => unknown) => WebAssembly.ImportValue;
  promising<Result>(run: (...values: number[]) => Result): (...values: number[]) => Promise<Result>;
};

/** Wraps an import: it suspends the guest until the promise that `run` returns is settled. */
export function suspending(run: (...values: never[]) => unknown): WebAssembly.ImportValue {
  return new jspi.Suspending(run);
}

/** Wraps an export whose call can be suspended. */
export function promising<Result>(run: (...values: number[]) => Result): (...values: number[]) => Promise<Result> {
  return jspi.promising(run);
}
