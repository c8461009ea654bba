// Writes the types of a Konclave gateway: node generate.ts openapi.json > konclave.ts
//
// As the command line of openapi-typescript does, but with bytes as Blob: it takes them for text.
import { pathToFileURL } from "node:url";
import openapiTS, { astToString } from "openapi-typescript";
import ts from "typescript";

const document = process.argv[2];
if (document === undefined) {
  throw new Error("usage: node generate.ts openapi.json > konclave.ts");
}
const blob = ts.factory.createTypeReferenceNode("Blob");
const types = await openapiTS(pathToFileURL(document), {
  transform: (schema) => (schema.format === "binary" ? blob : undefined),
});
process.stdout.write(astToString(types));
