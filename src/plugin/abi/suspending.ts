/** JavaScript Promise Integration, which the types of the platform do not know yet. */
const jspi = WebAssembly as unknown as {
  Suspending: new (run: (...values: never[]) => unknown) => WebAssembly.ImportValue;
  promising<Result>(run: (...values: number[]) => Result): (...values: number[]) => Promise<Result>;
};

/** The import that suspends the guest until the promise that `run` returns is settled. */
export function suspending(run: (...values: never[]) => unknown): WebAssembly.ImportValue {
  return new jspi.Suspending(run);
}

/** An export that may be suspended. */
export function promising<Result>(run: (...values: number[]) => Result): (...values: number[]) => Promise<Result> {
  return jspi.promising(run);
}
