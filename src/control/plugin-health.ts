/** Health of each plugin on each worker, as the workers report it. */

import type { LastFailure } from "../admin/api.ts";
import type { PluginEvent } from "../plugin/host/report.ts";

export class PluginHealth {
  readonly #threads = new Map<number, Map<string, PluginEvent>>();

  receive(thread: number, news: PluginEvent): void {
    const plugins = this.#threads.get(thread) ?? new Map<string, PluginEvent>();
    this.#threads.set(thread, plugins.set(news.plugin, news));
  }

  /** The thread has ended: its successor's guests are new. What failed last is remembered. */
  forget(thread: number): void {
    const plugins = this.#threads.get(thread);
    for (const [plugin, news] of plugins ?? []) plugins!.set(plugin, { ...news, quarantined: false });
  }

  /** Threads on which a plugin is quarantined. */
  quarantined(plugin: string): number[] {
    return [...this.#threads].flatMap(([thread, plugins]) => (plugins.get(plugin)?.quarantined ? [thread] : []));
  }

  lastFailure(plugin: string): LastFailure | null {
    let last: LastFailure | null = null;
    for (const [thread, plugins] of this.#threads) {
      const failure = plugins.get(plugin)?.failure;
      if (failure != null && (last === null || failure.at > last.at)) last = { ...failure, thread };
    }
    return last;
  }
}
