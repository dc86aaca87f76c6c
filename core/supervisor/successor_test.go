package supervisor

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestASuccessorIsMadeOnceAndInNobodysWay(t *testing.T) {
	for _, test := range []struct {
		name       string
		hurry      bool
		on, begins bool          // its way, and the container
		ends       time.Duration // after that; 0: it goes on
		made       time.Duration // after the beginning of all; -1: never
	}{
		{"the container lives on", false, true, true, 0, quietTime},
		{"it ends at once", false, true, true, 10 * time.Millisecond, 10 * time.Millisecond},
		{"starts follow each other", true, true, true, 10 * time.Millisecond, 0},
		{"starts follow each other, and one has failed", true, true, false, time.Second, 0},
		{"the start has failed", false, true, false, time.Second, -1},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begun, made := time.Now(), time.Duration(-1)
				s := newSuccessor(test.hurry, func() {
					if made >= 0 {
						t.Error("it is made twice")
					}
					made = time.Since(begun)
				})
				if test.on {
					s.onItsWay()
					synctest.Wait()
				}
				if test.begins {
					s.started()
				}
				if test.ends > 0 {
					time.Sleep(test.ends)
					s.atItsEnd()
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				if made != test.made {
					t.Errorf("made after %v, not %v", made, test.made)
				}
			})
		})
	}
}

func TestWithoutASuccessorNothingIsMade(*testing.T) {
	var s *successor
	s.onItsWay()
	s.started()
	s.atItsEnd()
}
