// Prints what is wrong with AsyncAPI documents, and with what they refer to: node check.js FILE…
"use strict";
module.paths.push(`${__dirname}/../../var/node/asyncapi/node_modules`); // where compose/local/node.sh installs them
const { AvroSchemaParser } = require("@asyncapi/avro-schema-parser");
const { fromFile, Parser } = require("@asyncapi/parser");

const GRAVE = 1; // 0: error, 1: warning; the rest is advice, such as to use a newer AsyncAPI than 3.0

async function check(files) {
  const parser = new Parser();
  parser.registerSchemaParser(AvroSchemaParser());
  for (const file of files) {
    const { document, diagnostics } = await fromFile(parser, file).parse();
    const found = diagnostics.filter((d) => d.severity <= GRAVE);
    for (const d of found) console.log(`${file}: ${d.path.join(".")}: ${d.message}`);
    if (!document || found.length) process.exitCode = 1;
  }
}

check(process.argv.slice(2));
