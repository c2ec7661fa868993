import type { Transform } from "assemblyscript/transform";

/**
 * The AssemblyScript transform for plugins: a class that the compiler instantiates for each program. The compiler's types
 * describe only the instance.
 */
declare const SluiceTransform: Transform;
export default SluiceTransform;
