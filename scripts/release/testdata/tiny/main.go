// Package main is a small program in the place of publish.
package main

func main() { println("tiny") }
