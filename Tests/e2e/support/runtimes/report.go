// SPDX-License-Identifier: Apache-2.0

// A program without a module is taken for an old one, which does not read its quota.
//
//go:debug containermaxprocs=1
//go:debug updatemaxprocs=1

// What Go sees of its limits: a line of JSON at once, and one for each line of its input.
package main

import (
	"os"
	"runtime"
	"strconv"
	"time"
)

func main() {
	line := make([]byte, 64)
	for {
		os.Stdout.WriteString("{\"GOMAXPROCS\": " + strconv.Itoa(runtime.GOMAXPROCS(0)) +
			", \"NumCPU\": " + strconv.Itoa(runtime.NumCPU()) + "}\n")
		if n, err := os.Stdin.Read(line); n == 0 || err != nil {
			return
		}
		// The quota is read again by a thread that sleeps as long as all goroutines do, and that
		// looks once in a second.
		for begin := time.Now(); time.Since(begin) < 3*time.Second; {
			time.Sleep(20 * time.Millisecond)
		}
	}
}
