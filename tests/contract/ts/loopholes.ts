// Fails if a program gets around the types of the generated client: node loopholes.ts FILE.ts..
//
// `any`, a cast or a `!` would let a program compile that does not fit openapi.json.
import { readFileSync } from "node:fs";
import ts from "typescript";

const KINDS = new Map([
  [ts.SyntaxKind.AnyKeyword, "any"],
  [ts.SyntaxKind.AsExpression, "a cast"],
  [ts.SyntaxKind.TypeAssertionExpression, "a cast"],
  [ts.SyntaxKind.NonNullExpression, "an assertion that a value is there"],
]);

let found = 0;
for (const path of process.argv.slice(2)) {
  const source = ts.createSourceFile(path, readFileSync(path, "utf8"), ts.ScriptTarget.Latest, true);
  const tell = (position: number, what: string) => {
    const { line } = source.getLineAndCharacterOfPosition(position);
    console.error(`${path}:${line + 1}: ${what}`);
    found += 1;
  };
  const look = (node: ts.Node): void => {
    const what = KINDS.get(node.kind);
    // `as const` narrows a literal and claims nothing.
    if (what !== undefined && !(ts.isAsExpression(node) && ts.isConstTypeReference(node.type))) {
      tell(node.getStart(), what);
    }
    ts.forEachChild(node, look);
  };
  look(source);
  for (const comment of source.text.matchAll(/@ts-(ignore|nocheck|expect-error)/g)) {
    tell(comment.index, comment[0]);
  }
}
process.exitCode = found === 0 ? 0 : 1;
