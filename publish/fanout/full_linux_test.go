package fanout

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A target whose disk is full serves what it served, and goes on when there is room.
func TestDiskIsFullThere(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root mounts")
	}
	disk := t.TempDir()
	if err := syscall.Mount("none", disk, "tmpfs", 0, "size=4m"); err != nil {
		t.Skipf("mount: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(disk, syscall.MNT_DETACH) })
	target := filepath.Join(disk, "eu")
	lead := newLead(t, map[string]string{"eu": target})
	opt := Options{Host: host, Now: time.Now}
	promote(t, lead, old)
	if _, list, err := Sync(ctx, lead, nil, opt); err != nil || list[0].Err != nil {
		t.Fatalf("%+v, %v", list, err)
	}
	random := func(n int) string {
		b := make([]byte, n/2)
		if _, err := rand.Read(b); err != nil {
			t.Fatal(err)
		}
		return hex.EncodeToString(b)
	}
	files := map[string]string{"a": "one"}
	for _, name := range []string{"c", "d", "e", "f"} {
		files[name] = random(700 << 10)
	}
	filler := filepath.Join(disk, "filler")
	if err := os.WriteFile(filler, make([]byte, 2<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	promote(t, lead, files)
	_, list, err := Sync(ctx, lead, nil, opt)
	if err != nil || list[0].Err == nil || list[0].Generation != 1 ||
		!strings.Contains(list[0].Err.Error(), syscall.ENOSPC.Error()) {
		t.Fatalf("%+v, %v", list[0], err)
	}
	if n, got := production(t, target); n != 1 || got["deep/b"] != "two" {
		t.Errorf("generation %d: %v", n, got)
	}
	if err := errors.Join(os.Remove(filler)); err != nil {
		t.Fatal(err)
	}
	_, list, err = Sync(ctx, lead, nil, opt)
	if err != nil || list[0].Err != nil || list[0].Sent == 0 || list[0].Sent == 4 {
		t.Fatalf("%+v, %v: what came before is not sent again", list[0], err)
	}
	same(t, lead, target)
}
