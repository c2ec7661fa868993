/**
 * AssemblyScript transform for `helpers()` of sluice/test: records the signature of each exported function, and adds a further
 * source file.
 */
import { CommonFlags, NodeKind, SourceKind } from "assemblyscript";

export function makeHelpersTransform(signatures, addition) {
  return class {
    afterParse(parser) {
      const entry = parser.sources.find(
        ({ sourceKind, normalizedPath }) => sourceKind === SourceKind.UserEntry && !normalizedPath.startsWith("~lib/"),
      );
      for (const statement of entry.statements) {
        if (statement.kind !== NodeKind.FunctionDeclaration || !(statement.flags & CommonFlags.Export)) continue;
        const { parameters, returnType } = statement.signature;
        signatures.set(statement.name.text, {
          parameters: parameters.map(({ type }) => typeName(type)),
          returns: typeName(returnType),
        });
      }
      parser.parseFile(addition, "helpers~addition.ts", true);
    }
  };
}

/** `i32`, `string`, `Array<f64>`; `function` for an unnamed type. */
function typeName({ name, typeArguments }) {
  const inner = typeArguments?.length ? `<${typeArguments.map(typeName).join(",")}>` : "";
  return `${name?.identifier.text ?? "function"}${inner}`;
}
