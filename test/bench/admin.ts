/** Status and metrics of a running proxy. */

export type Series = { readonly labels: Readonly<Record<string, string>>; readonly value: number };

/** Of one metric in Prometheus' text format. */
export function readSeries(text: string, name: string): Series[] {
  return text.split("\n").flatMap((line) => {
    const [, found, labels = "", value] = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$/.exec(line) ?? [];
    if (found !== name) return [];
    const pairs = [...labels.matchAll(/(\w+)="([^"]*)"/g)].map(([, label = "", text = ""]) => [label, text]);
    return [{ labels: Object.fromEntries(pairs) as Record<string, string>, value: Number(value) }];
  });
}

/** @throws if the proxy does not respond. */
export async function askAdmin(port: number, method: string, path: string): Promise<string> {
  const response = await fetch(`http://127.0.0.1:${port}${path}`, { method });
  return response.text();
}
