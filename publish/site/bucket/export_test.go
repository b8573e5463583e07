package bucket

import "time"

// SetBatch makes a gc delete so many keys with one request.
func (s *Site) SetBatch(n int) { s.batch = n }

// SetChance makes waits follow a seed.
func (s *Site) SetChance(f func(time.Duration) time.Duration) { s.chance = f }
