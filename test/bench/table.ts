/** Results as Markdown, for the terminal and for docs/benchmarks.md alike. */
import type { Compared, Outcome } from "./compare.ts";
import type { Sample } from "./load.ts";
import { spreadOf } from "./statistics.ts";

export function renderTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((cell, column) => Math.max(cell.length, ...rows.map((row) => row[column]?.length ?? 0)));
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell, column) => (column === 0 ? cell.padEnd(widths[0]!) : cell.padStart(widths[column]!))).join(" | ")} |`;
  const rule = widths.map((width, column) => (column === 0 ? "-".repeat(width) : `${"-".repeat(width - 1)}:`));
  return [line(head), line(rule), ...rows.map(line)].join("\n");
}

export function renderOutcome({ samples, compared }: Outcome): string {
  const measured = renderTable(
    ["proxy", "µs a request", "quartiles", "requests/s", "p99 ms", "RSS MiB", "core lost"],
    [...samples].map(([name, taken]) => renderSamples(name, taken)),
  );
  if (compared.length === 0) return measured;
  const ratios = renderTable(
    ["processor time compared", "median", "quartiles", "target", "result", "requests/s"],
    compared.map(renderCompared),
  );
  return `${measured}\n\n${ratios}`;
}

function renderSamples(name: string, samples: readonly Sample[]): string[] {
  const cpu = spreadOf(samples.map((sample) => sample.cpu));
  const median = (read: (sample: Sample) => number): number => spreadOf(samples.map(read)).median;
  return [
    name,
    cpu.median.toFixed(2),
    `${cpu.low.toFixed(2)} – ${cpu.high.toFixed(2)}`,
    median((sample) => sample.rate).toFixed(0),
    (median((sample) => sample.p99) / 1000).toFixed(2),
    (median((sample) => sample.rss) / 1024 ** 2).toFixed(1),
    `${(median((sample) => sample.waited) * 100).toFixed(1)} %`,
  ];
}

function renderCompared(compared: Compared): string[] {
  const { ours, peer, cpu, rate, target, next, difference } = compared;
  const show = (value: number): string => (difference ? `${value.toFixed(0)} ns` : value.toFixed(2));
  const sign = difference ? "−" : "÷";
  return [
    `${ours} ${sign} ${peer}`,
    show(cpu.median),
    `${show(cpu.low)} – ${show(cpu.high)}`,
    target === undefined ? "" : `≤ ${show(target)}${next === undefined ? "" : `, then ${show(next)}`}`,
    compareToTarget(compared),
    `× ${rate.median.toFixed(2)}`,
  ];
}

/** Above this share of lost core a comparison proves nothing. */
const DISTURBED = 0.05;

/** No claim inside the quartiles, and none when others had the core. */
export function compareToTarget({ cpu, target, next, waited }: Compared): string {
  if (target === undefined) return "";
  if (waited > DISTURBED) return "disturbed";
  if (next !== undefined && cpu.high <= next) return "met, and the next";
  if (cpu.high <= target) return "met";
  return cpu.low > target ? "missed" : "open";
}
