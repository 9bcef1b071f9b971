// Writes the types of the server's answers from its published description, so that neither can
// change without the other: what the page no longer fits does not compile.
//
//     node build/types.mjs OPENAPI.json OUT.ts
//
// It knows the part of JSON Schema that the description uses, and refuses every other word.

import { existsSync, readFileSync, writeFileSync } from "node:fs";

/** Words that narrow a value and do not change its type. */
const SILENT = new Set([
  "description", "example", "examples", "default", "format", "pattern", "minimum", "maximum",
  "minLength", "maxLength", "minItems", "maxItems", "minProperties", "deprecated", "title",
  "exclusiveMinimum", "exclusiveMaximum", "uniqueItems",
]);
const SIMPLE = { string: "string", integer: "number", number: "number", boolean: "boolean", null: "null" };

function typeOf(schema, place) {
  const { $ref, type, enum: values, const: value, oneOf, anyOf, items, properties, required,
    additionalProperties, ...rest } = schema;
  const unknown = Object.keys(rest).filter((word) => !SILENT.has(word));
  if (unknown.length > 0) throw new Error(`${place}: ${unknown.join(", ")} is not understood here`);
  if ($ref !== undefined) return $ref.replace("#/components/schemas/", "");
  if (value !== undefined) return JSON.stringify(value);
  if (values !== undefined) return union(values.map((one) => JSON.stringify(one)));
  const choices = oneOf ?? anyOf;
  if (choices !== undefined) return union(choices.map((one, at) => typeOf(one, `${place}[${at}]`)));
  if (Array.isArray(type)) return union(type.map((one) => typeOf({ ...schema, type: one }, place)));
  if (type === "array") return `Array<${typeOf(items ?? {}, `${place}[]`)}>`;
  if (type === "object") return objectOf(schema, place);
  if (type === undefined) return "unknown";
  const simple = SIMPLE[type];
  if (simple === undefined) throw new Error(`${place}: ${type} is no JSON type`);
  return simple;
}

function words({ description }, end) {
  return description === undefined ? "" : `/** ${description.replaceAll("*/", "* /")} */${end}`;
}

function union(types) {
  return [...new Set(types)].join(" | ");
}

function objectOf(schema, place) {
  const { properties = {}, required = [], additionalProperties } = schema;
  const fields = Object.entries(properties).map(([name, field]) => {
    const mark = required.includes(name) ? "" : "?";
    return `${words(field, " ")}${JSON.stringify(name)}${mark}: ${typeOf(field, `${place}.${name}`)};`;
  });
  if (fields.length > 0) return `{\n  ${fields.join("\n  ")}\n}`;
  const others = typeof additionalProperties === "object" ? typeOf(additionalProperties, place) : "unknown";
  return `Record<string, ${others}>`;
}

const [input, output] = process.argv.slice(2);
if (input === undefined || output === undefined) throw new Error("usage: types.mjs OPENAPI.json OUT.ts");
const schemas = Object.entries(JSON.parse(readFileSync(input, "utf8")).components.schemas);
if (schemas.length === 0) throw new Error(`${input}: no schemas`);
const types = schemas.map(([name, schema]) => {
  return `${words(schema, "\n")}export type ${name} = ${typeOf(schema, name)};\n`;
});
const text = `// Written by build/types.mjs; do not edit.\n\n${types.join("\n")}`;
// What did not change is not new to whoever looks at the time of files.
if (!existsSync(output) || readFileSync(output, "utf8") !== text) writeFileSync(output, text);
