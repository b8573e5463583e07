//go:build !profile

package main

// startProfile profiles nothing but in a binary built with -tags profile.
func startProfile() (stop func()) { return func() {} }
