/** Health of each plugin on each worker, as the workers report it. */

import type { LastFailure } from "../admin/api.ts";
import type { PluginEvent } from "../plugin/host/report.ts";

export class PluginHealth {
  readonly #workers = new Map<number, Map<string, PluginEvent>>();

  receive(worker: number, event: PluginEvent): void {
    this.#workers.getOrInsert(worker, new Map()).set(event.plugin, event);
  }

  /** Handles the end of a worker: no quarantine remains, the last failures do. */
  forget(worker: number): void {
    const plugins = this.#workers.get(worker);
    for (const [plugin, event] of plugins ?? []) plugins!.set(plugin, { ...event, quarantined: false });
  }

  /** Workers on which a plugin is quarantined. */
  quarantined(plugin: string): number[] {
    return [...this.#workers].flatMap(([worker, plugins]) => (plugins.get(plugin)?.quarantined ? [worker] : []));
  }

  lastFailure(plugin: string): LastFailure | null {
    let last: LastFailure | null = null;
    for (const [worker, plugins] of this.#workers) {
      const failure = plugins.get(plugin)?.failure;
      if (failure != null && (last === null || failure.at > last.at)) last = { ...failure, worker };
    }
    return last;
  }
}
