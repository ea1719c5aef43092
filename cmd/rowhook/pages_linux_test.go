package main

import "testing"

// TestProgramIsForgotten: the program goes on when its pages are gone.
func TestProgramIsForgotten(t *testing.T) {
	t.Parallel()
	if forgetProgram() == 0 {
		t.Error("nothing was forgotten")
	}
	if got := rowhook(t, "version"); got.code != exitDone || got.out == "" {
		t.Errorf("afterwards: %+v", got)
	}
}
