package serve

import (
	"time"

	"example.com/publish/publish"
	"example.com/publish/publish/mirror"
)

// lookAgain is for how long pages show what staging and the history said.
const lookAgain = 10 * time.Second

// computed is what pages show beside the documents of a view. The key is, or has, the
// generation that is production: after a switch all is computed anew. What depends on
// that generation only is kept as long as it is production.
type computed struct {
	looked      *shared[int, overview]
	shelves     *shared[int, *shelf]
	carried     *shared[int, *publish.CarriedFiles]
	told        *shared[int, []publish.Told]
	diffs       *shared[comparison, *publish.Diff]
	stagedDiffs *shared[comparison, *publish.Diff]
	queue       *shared[int, *mirror.View] // of no generation
	unread      *trouble                   // what pages cannot show
	unmade      map[string]*trouble        // by the name of the page or twin
}

func newComputed(now func() time.Time) computed {
	unmade := map[string]*trouble{}
	for _, page := range sections {
		unmade[page.Name], unmade[page.twin()] = &trouble{}, &trouble{}
	}
	return computed{
		looked:      &shared[int, overview]{age: lookAgain, keep: 1, now: now},
		shelves:     &shared[int, *shelf]{keep: 1, now: now},
		carried:     &shared[int, *publish.CarriedFiles]{age: lookAgain, keep: 1, now: now},
		told:        &shared[int, []publish.Told]{age: lookAgain, keep: 1, now: now},
		diffs:       &shared[comparison, *publish.Diff]{keep: 4, now: now},
		stagedDiffs: &shared[comparison, *publish.Diff]{age: lookAgain, keep: 2, now: now},
		queue:       &shared[int, *mirror.View]{age: lookAtQueue, keep: 1, now: now},
		unread:      &trouble{},
		unmade:      unmade,
	}
}
