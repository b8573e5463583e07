package catalog

// A Memory is a Source that remembers what a format learned from content. What has a
// digest never changes, so it need not be read again. Whether it is there, and has
// the right bytes, is not the memory's matter: who validates a tree proves that of
// every item.
type Memory interface {
	Source
	// Recall returns what was remembered about the content with a digest; do not
	// write to it. It may be what another version of the format made.
	Recall(d Digest) (fact []byte, ok bool)
	// Remember keeps a fact, which the format has from bytes that have the digest. A
	// fact that is too long is not kept.
	Remember(d Digest, fact []byte)
}

// A SumMemory is a Memory that can be asked without a text.
type SumMemory interface {
	Memory
	// RecallSum is Recall for a sha256.
	RecallSum(sum *Sum) (fact []byte, ok bool)
}
