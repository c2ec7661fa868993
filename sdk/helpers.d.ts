/** The types of an exported function as in the source: `i32`, `string`, `Array<f64>`. */
export type Signature = { readonly parameters: readonly string[]; readonly returns: string };

/** Creates a transform that records the exports of the entry file in `signatures`, and compiles `addition` as another entry. */
export function makeHelpersTransform(signatures: Map<string, Signature>, addition: string): new () => object;
