/** Where the schema of a plugin's configuration stands: beside its source. */
export function schemaPath(source: string): string {
  return source.replace(/\.ts$/, ".schema.json");
}
