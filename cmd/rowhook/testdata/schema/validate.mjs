// Says of each document whether its own validator takes it: node validate.mjs MODULES FILE...
import fs from "node:fs";
import path from "node:path";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [modules, ...files] = process.argv.slice(2);
const { Validator } = await import(pathToFileURL(path.join(modules, "@seriousme/openapi-schema-validator/index.js")));
const { Parser } = createRequire(path.join(modules, "index.js"))("@asyncapi/parser");

for (const file of files) {
  const doc = JSON.parse(fs.readFileSync(file, "utf8"));
  let faults;
  if (doc.asyncapi) {
    const { document, diagnostics } = await new Parser().parse(JSON.stringify(doc));
    faults = diagnostics.filter((d) => d.severity <= 1); // errors and warnings
    if (!document && faults.length === 0) faults = ["no document"];
  } else {
    const { valid, errors } = await new Validator().validate(doc);
    faults = valid ? [] : errors;
  }
  console.log(JSON.stringify({ file: path.basename(file), faults }));
}
