/**
 * Estimates the cost of compiling each function from its code, so that modules whose compilation would take seconds or
 * gigabytes are rejected. The limits are at least twice the values of the largest real modules (RATIONALE.md).
 */
import { LIMIT } from "../../abi/abi.ts";
import { Reader, SECTION } from "./binary.ts";
import { PluginError } from "./error.ts";
import { OP, skipImmediates } from "./instructions.ts";
import type { ModuleShape, Signature } from "./module-shape.ts";
import { stackEffect } from "./stack-effects.ts";

export type FunctionCost = {
  /** Bytes of its body. */
  size: number;
  /** Number of locals and parameters. */
  locals: number;
  /** Deepest nesting of blocks. */
  depth: number;
  /**
   * Values to merge: at each split or join of control flow, compilers process every local and stack value, and store them
   * per block. Time and memory grow with this product, not with the size.
   */
  merged: number;
  /** The sum of the nesting depths of all loops: registers are allocated for each. */
  loops: number;
};

/** Calls `visit` with each function of a valid module; the same object each time. */
function measureFunctions(
  bytes: Uint8Array,
  shape: ModuleShape,
  visit: (index: number, cost: Readonly<FunctionCost>) => void,
): void {
  const section = shape.sections.find(({ id }) => id === SECTION.code);
  if (section === undefined) return;
  const reader = new Reader(bytes, section.start, section.end);
  const walk = new Walk(bytes, shape);
  const end = shape.imports.length + reader.u32();
  for (let index = shape.imports.length; index < end; index++) {
    const size = reader.u32();
    visit(index, walk.measure(reader.at, reader.at + size, shape.types[shape.functions[index]!]!));
    reader.skip(size);
  }
}

/** Above these limits the optimising compiler would take more than about two seconds for one function. */
const OPTIMISED = { size: 256 * 1024, merged: 2 * 1024 * 1024, loops: 4096 } as const;
const UNITS = { size: "bytes of code", merged: "values to merge", loops: "loops, each counted with those around it" };

/**
 * Returns the reason why the module must not be optimised (its first function that is too costly), or null.
 * @throws PluginError for a function that exceeds a limit.
 */
export function checkCompileCost(bytes: Uint8Array, shape: ModuleShape): string | null {
  let costly: string | null = null;
  measureFunctions(bytes, shape, (index, cost) => {
    const { size, locals, depth, merged } = cost;
    if (size > LIMIT.functionBytes)
      throw new PluginError(`function ${index} is ${size} bytes of code, the limit is ${LIMIT.functionBytes}`);
    const check = (figure: number, limit: number, what: string) => {
      if (figure > limit) throw new PluginError(`function ${index} has ${figure} ${what}, at most ${limit}`);
    };
    check(locals, LIMIT.locals, "locals");
    check(depth, LIMIT.nesting, "nested blocks");
    check(merged, LIMIT.merged, "values to merge (locals and stack, at each block and branch)");
    for (const key of ["size", "merged", "loops"] as const)
      if (cost[key] > OPTIMISED[key])
        costly ??= `function ${index} has ${cost[key]} ${UNITS[key]}, above ${OPTIMISED[key]}`;
  });
  return costly;
}

/** An open block: the stack height below it, its parameters and results. */
type Open = {
  readonly base: number;
  readonly params: number;
  readonly results: number;
  readonly isLoop: boolean;
  /** Offset of the last `br_table` with this block among its targets. */
  table: number;
};

/** Measures one function after the other by simulating the stack height. */
class Walk {
  readonly #reader: Reader;
  readonly #immediate: Reader;
  readonly #shape: ModuleShape;
  readonly #cost: FunctionCost = { size: 0, locals: 0, depth: 0, merged: 0, loops: 0 };
  /** The function's body first. */
  readonly #open: Open[] = [];
  #height = 0;
  #openLoops = 0;

  constructor(bytes: Uint8Array, shape: ModuleShape) {
    this.#reader = new Reader(bytes);
    this.#immediate = new Reader(bytes);
    this.#shape = shape;
  }

  measure(start: number, end: number, signature: Signature): Readonly<FunctionCost> {
    const reader = this.#reader;
    const cost = this.#cost;
    reader.at = start;
    reader.end = end;
    Object.assign(cost, { size: end - start, locals: signature.params.length, depth: 0, merged: 0, loops: 0 });
    for (let left = reader.u32(); left > 0; left--) {
      cost.locals += reader.u32();
      reader.valueType();
    }
    this.#height = this.#openLoops = 0;
    this.#open.length = 0;
    this.#enter({ params: 0, results: signature.results.length, isLoop: false });
    while (reader.at < end) this.#step();
    return cost;
  }

  #step(): void {
    const reader = this.#reader;
    const opcode = reader.u8();
    const immediate = this.#immediate;
    immediate.at = reader.at;
    const effect = stackEffect(opcode, skipImmediates(reader, opcode));
    const top = this.#open.at(-1);
    // In unreachable code an instruction may pop values that do not exist.
    this.#height = Math.max(this.#height + effect, top?.base ?? 0);
    switch (opcode) {
      case OP.block:
      case OP.loop:
      case OP.if:
      case OP.try:
      case OP.tryTable:
        this.#enter({ ...this.#blockType(), isLoop: opcode === OP.loop });
        break;
      case OP.else:
        this.#restart(top!.params);
        break;
      case OP.catchAll:
        this.#restart(0);
        break;
      case OP.catch:
        this.#restart(this.#shape.types[this.#shape.tags[immediate.u32()]!]!.params.length);
        break;
      case OP.end:
      case OP.delegate:
        this.#leave();
        break;
      case OP.br:
      case OP.brIf:
      case OP.brOnNull:
      case OP.brOnNonNull:
        this.#merge(this.#target(immediate.u32()).base);
        break;
      case OP.brTable:
        this.#branchTable();
        break;
      case OP.call:
        this.#call(this.#shape.functions[immediate.u32()]!);
        break;
      case OP.callIndirect:
      case OP.callRef:
        this.#call(immediate.u32());
        break;
    }
  }

  /** The block type: empty (0x40), a value type, or a type index. */
  #blockType(): { params: number; results: number } {
    const first = this.#immediate.bytes[this.#immediate.at]!;
    if (first === EMPTY) return { params: 0, results: 0 };
    // One byte of a negative LEB128 is a value type.
    if (first >= EMPTY && first < 0x80) return { params: 0, results: 1 };
    const { params, results } = this.#shape.types[this.#immediate.u32()]!;
    return { params: params.length, results: results.length };
  }

  #enter(block: Pick<Open, "params" | "results" | "isLoop">): void {
    this.#open.push({ ...block, base: this.#height - block.params, table: -1 });
    const cost = this.#cost;
    cost.depth = Math.max(cost.depth, this.#open.length);
    if (block.isLoop) cost.loops += ++this.#openLoops;
    this.#merge(this.#height);
  }

  /** Begins another part of the innermost block. */
  #restart(values: number): void {
    this.#height = this.#open.at(-1)!.base + values;
    this.#merge(this.#height);
  }

  #leave(): void {
    const { base, results, isLoop } = this.#open.pop()!;
    if (isLoop) this.#openLoops--;
    this.#height = base + results;
  }

  #target(label: number): Open {
    return this.#open[this.#open.length - 1 - label]!;
  }

  /** Counts each target once, as compilers do. */
  #branchTable(): void {
    const start = this.#immediate.at;
    for (let left = this.#immediate.u32(); left >= 0; left--) {
      const target = this.#target(this.#immediate.u32());
      if (target.table !== start) this.#merge(target.base);
      target.table = start;
    }
  }

  #call(type: number): void {
    const { params, results } = this.#shape.types[type]!;
    this.#height += results.length - params.length;
  }

  #merge(height: number): void {
    this.#cost.merged += this.#cost.locals + height;
  }
}

const EMPTY = 0x40;
