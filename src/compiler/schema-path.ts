/** Path of the schema of a plugin's configuration, next to its source. */
export function schemaPath(source: string): string {
  return source.replace(/\.ts$/, ".schema.json");
}
