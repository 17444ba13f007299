package main

import (
	"io"
	"os"
)

// environment is everything a command takes from the outside: a test gives it
// another one.
type environment struct {
	In       io.Reader
	Out      io.Writer
	Err      io.Writer
	Getenv   func(string) string
	Environ  func() []string
	Terminal bool // Out is a terminal
}

func newEnvironment() *environment {
	info, err := os.Stdout.Stat()
	return &environment{
		In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Getenv: os.Getenv, Environ: os.Environ,
		Terminal: err == nil && info.Mode()&os.ModeCharDevice != 0,
	}
}
