/** Modules from AssemblyScript without the SDK. */
import asc from "assemblyscript/asc";

export async function compileScript(source: string, options: readonly string[] = []): Promise<Uint8Array> {
  let output: Uint8Array | null = null;
  const { error, stderr } = await asc.main(
    [
      "input.ts",
      "--outFile",
      "output.wasm",
      "--use",
      "abort=",
      "--enable",
      "simd",
      "--enable",
      "bulk-memory",
      ...options,
    ],
    {
      readFile: (name: string) => (name === "input.ts" ? source : null),
      writeFile: (name: string, contents: string | Uint8Array) => {
        if (name === "output.wasm") output = contents as Uint8Array;
      },
      listFiles: () => [],
    },
  );
  if (error !== null || output === null) throw new Error(`asc: ${error?.message ?? "no output"}\n${stderr.toString()}`);
  return output;
}
