// SPDX-License-Identifier: Apache-2.0
// What Node sees of its limits: a line of JSON at once, and one for each line of its input.
const os = require("os");
const v8 = require("v8");

function report() {
  console.log(JSON.stringify({
    availableParallelism: os.availableParallelism(),
    cpus: os.cpus().length,
    heapSizeLimit: v8.getHeapStatistics().heap_size_limit,
    constrainedMemory: process.constrainedMemory(),
  }));
}

report();
require("readline").createInterface({ input: process.stdin }).on("line", report);
