/** The types of an exported function as they are written: `i32`, `string`, `Array<f64>`. */
export type Signature = { readonly parameters: readonly string[]; readonly returns: string };

/** A transform that fills `signatures` with what the entry exports, and compiles `addition` as a further entry. */
export function makeHelpersTransform(signatures: Map<string, Signature>, addition: string): new () => object;
