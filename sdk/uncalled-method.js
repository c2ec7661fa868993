/**
 * Rejects `if (body.text)`, `body.text == null` and `body.drop;`. The compiler takes a method without its call as a function,
 * which is never null: such a condition is always true, and such a statement has no effect.
 */
import { CommonFlags, Compiler, DiagnosticCode, ElementKind, NodeKind, ReportMode, Token, Type } from "assemblyscript";

const EQUALITY = new Set([
  Token.Equals_Equals,
  Token.Equals_Equals_Equals,
  Token.Exclamation_Equals,
  Token.Exclamation_Equals_Equals,
]);

/** Adds the check to the compiler's conditions, comparisons and statements. */
function addCheck({ makeIsTrueish, compileBinaryExpression, compileExpressionStatement }) {
  Compiler.prototype.makeIsTrueish = function (compiled, type, node) {
    check(this, node);
    return makeIsTrueish.call(this, compiled, type, node);
  };
  Compiler.prototype.compileBinaryExpression = function (node, ...rest) {
    if (EQUALITY.has(node.operator)) for (const side of [node.left, node.right]) check(this, side);
    return compileBinaryExpression.call(this, node, ...rest);
  };
  Compiler.prototype.compileExpressionStatement = function (node) {
    check(this, node.expression);
    return compileExpressionStatement.call(this, node);
  };
}

/** Reports a name or a member in the plugin's own sources whose value is a method. */
function check(compiler, expression) {
  let node = expression;
  while (node.kind === NodeKind.Parenthesized) node = node.expression;
  if (node.kind !== NodeKind.Identifier && node.kind !== NodeKind.PropertyAccess) return;
  if (node.range.source.normalizedPath.startsWith("~lib/")) return;
  const element = compiler.resolver.lookupExpression(node, compiler.currentFlow, Type.auto, ReportMode.Swallow);
  if (!isMethod(element)) return;
  const code = DiagnosticCode.Type_0_is_not_assignable_to_type_1;
  compiler.error(code, node.range, "(this: Object) => auto", Type.bool.toString());
}

/** Whether it is a method, or a variable with one as its value. */
function isMethod(element) {
  if (element?.kind === ElementKind.FunctionPrototype) return element.is(CommonFlags.Instance);
  return Boolean(element?.type?.signatureReference?.thisType);
}

addCheck(Compiler.prototype);
