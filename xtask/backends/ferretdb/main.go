// FerretDB behind a command of two arguments: ferretdb ADDRESS POSTGRESQL. It ends on SIGTERM and SIGINT.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/FerretDB/FerretDB/ferretdb"
)

func serve(address, postgresql string) error {
	ending, release := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer release()
	// Its info level has a line for each connection.
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	server, err := ferretdb.New(&ferretdb.Config{
		Logger:        logger,
		Handler:       "postgresql",
		PostgreSQLURL: postgresql,
		Listener:      ferretdb.ListenerConfig{TCP: address},
	})
	if err != nil {
		return err
	}
	return server.Run(ending)
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: ferretdb ADDRESS POSTGRESQL")
		os.Exit(2)
	}
	if err := serve(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "ferretdb:", err)
		os.Exit(1)
	}
}
