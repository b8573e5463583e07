package mirror

import (
	"fmt"
	"os"
	"testing"
)

// crowd is a queue with n pending jobs.
func crowd(b *testing.B, n int) *world {
	w := newWorld(b)
	list := make([]Request, n)
	for i := range list {
		list[i] = want(fmt.Sprintf("image-%05d:3.20", i))
		list[i].Platforms = []string{"linux/amd64", "linux/arm64"}
	}
	_, err := w.AddAll(ctx, list)
	must(b, err)
	return w
}

func BenchmarkList(b *testing.B) {
	w := crowd(b, 10000)
	for b.Loop() {
		jobs, _, err := w.List()
		must(b, err)
		if len(jobs) != 10000 {
			b.Fatal(len(jobs))
		}
	}
}

// BenchmarkListEnded is what a runner does for each job among many that ended.
func BenchmarkListEnded(b *testing.B) {
	w := crowd(b, 10000)
	for _, e := range must2(os.ReadDir(w.path("pending"))) {
		must(b, os.Rename(w.path("pending", e.Name()), w.path("done", e.Name())))
	}
	for b.Loop() {
		jobs, _, err := w.List(Staged, Cancelled)
		must(b, err)
		if len(jobs) != 10000 {
			b.Fatal(len(jobs))
		}
	}
}

func must2[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func BenchmarkClaim(b *testing.B) {
	w := crowd(b, 10000)
	for b.Loop() {
		must(b, w.claim().Release("", w.clock.now(), nil))
	}
}

func BenchmarkAddAll(b *testing.B) {
	for b.Loop() {
		crowd(b, 10000)
	}
}

func BenchmarkDecode(b *testing.B) {
	j := Job{ID: newID(), Want: want("image:3.20").Want, State: Pending, Requesters: []Requester{alice()}}
	data, err := j.encode()
	must(b, err)
	for b.Loop() {
		_, err := decode(data, j.ID, pendingIn)
		must(b, err)
	}
}
