// Prints what is wrong with AsyncAPI documents, and with what they refer to: node check.mjs FILE…
import { AvroSchemaParser } from "@asyncapi/avro-schema-parser";
import { fromFile, Parser } from "@asyncapi/parser/cjs/index.js";

const GRAVE = 1; // 0: error, 1: warning; the rest is advice, such as to use a newer AsyncAPI than 3.0
const parser = new Parser();
parser.registerSchemaParser(AvroSchemaParser());
for (const file of process.argv.slice(2)) {
  const { document, diagnostics } = await fromFile(parser, file).parse();
  const found = diagnostics.filter((d) => d.severity <= GRAVE);
  for (const d of found) console.log(`${file}: ${d.path.join(".")}: ${d.message}`);
  if (!document || found.length) process.exitCode = 1;
}
