// Asks the search of the site, which runs in a worker of the browser: node search_site.mjs DIRECTORY QUESTION
// prints the addresses of the pages that it finds, best first, as JSON.

import { readdirSync, readFileSync } from "node:fs";
import vm from "node:vm";

const SETUP = 0, READY = 1, QUERY = 2, RESULT = 3;
const [directory, question] = process.argv.slice(2);
const workers = `${directory}/assets/javascripts/workers`;
const [file] = readdirSync(workers).filter((name) => /^search\..*\.js$/.test(name));
const index = JSON.parse(readFileSync(`${directory}/search/search_index.json`, "utf8"));

const listeners = [];
const self = { addEventListener: (_, listener) => listeners.push(listener), postMessage: answer };
const send = (type, data) => listeners.forEach((listener) => listener({ data: { type, data } }));
self.self = self;
vm.runInNewContext(readFileSync(`${workers}/${file}`, "utf8"), Object.assign(self, { console, performance, setTimeout }));
send(SETUP, { config: index.config, docs: index.docs, options: { suggest: true } });

function answer({ type, data }) {
  if (type === READY) send(QUERY, question);
  if (type === RESULT) console.log(JSON.stringify(data.items.map(([best]) => best.location)));
}
