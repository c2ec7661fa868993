import type { Transform } from "assemblyscript/transform";

/**
 * The compiler's step that makes a plugin of a file. It is a class, of which the compiler makes an instance for each
 * program; the compiler's types know the instance only.
 */
declare const SluiceTransform: Transform;
export default SluiceTransform;
