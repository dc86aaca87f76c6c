// Command echoes is package test/fixtures/echo for containers: "echoes serve PATH GREETING", "echoes use PATH GREETING CONNECTIONS BYTES".
package main

import (
	"fmt"
	"os"
	"strconv"

	"github.com/vzctl/vzctl/test/fixtures/echo"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "echoes:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 3 && args[0] == "serve" {
		if err := os.Remove(args[1]); err != nil && !os.IsNotExist(err) { // of the run before
			return err
		}
		if _, err := echo.Serve(args[1], args[2]); err != nil {
			return err
		}
		fmt.Println("ready")
		select {}
	}
	if len(args) != 5 || args[0] != "use" {
		return fmt.Errorf("unknown words %q", args)
	}
	connections, err := strconv.Atoi(args[3])
	if err != nil {
		return err
	}
	size, err := strconv.Atoi(args[4])
	if err != nil {
		return err
	}
	if err := echo.Use(args[1], args[2], connections, size); err != nil {
		return err
	}
	fmt.Println("ok")
	return nil
}
