package task

import (
	"fmt"
	"testing"
	"time"

	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

func TestExpireTokens(t *testing.T) {
	b := newBench(t)
	put := func(n int, age time.Duration) {
		t.Helper()
		err := b.db.Update(t.Context(), func(tx *store.WriteTx) error {
			for i := range n {
				o := store.Object[state.RunToken]{Key: here.Key("default", fmt.Sprint(age, i)), Val: state.RunToken{At: tx.Now().Add(-age)}}
				if err := state.RunTokens.Put(tx, &o); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	put(3, state.RunTokenLife-time.Minute)
	put(1200, state.RunTokenLife+time.Minute)
	if err := b.c.expireTokens(t.Context()); err != nil {
		t.Fatal(err)
	}
	err := b.db.View(t.Context(), func(tx *store.ReadTx) error {
		n, err := state.RunTokens.Count(tx, "")
		if n != 3 {
			t.Errorf("%d tokens are left, want 3", n)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
